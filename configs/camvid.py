"""EncNet on CamVid (11 classes, 360x480 video frames).

python train.py --config configs/camvid.py             EncNet-18 at half resolution, CPU
python train.py --config configs/camvid.py:fcn         the baseline, same budget
python train.py --config configs/camvid.py:resnet50    full resolution, for a GPU or TPU
python train.py --config configs/camvid.py:piecewise_crf
                                                       a CRF, trained piecewise
python train.py --config configs/camvid.py:piecewise_crf,refine
                                                       refined by early features

Scores always use the original labels of 360x480, also if the input is scaled down.
Training starts from random weights. docs/learning.md has the results.
"""

from encnet_jax.config import defaults, recipes


def resnet50(config):
    """ResNet-50 at full resolution, batch size 16, for one accelerator."""
    config.model.backbone = "resnet50"
    config.data.input_scale = 1.0
    config.data.crop_size = 352
    config.eval.base_size = 480
    config.model.stem_width = 64
    config.model.head_channels = 512
    config.model.aux_channels = 256
    config.train.batch_size = 16
    config.train.epochs = 200.0
    config.train.eval_every_epochs = 10.0


def get_config(arguments=""):
    """Returns the configuration: EncNet-18 at half resolution, for two CPU cores."""
    config = defaults.get_config()
    config.data.name = "camvid"
    config.data.input_scale = 0.5
    config.data.crop_size = 176
    config.eval.base_size = 240
    config.model.backbone = "resnet18"
    config.model.stem_width = 32
    config.model.head_channels = 128
    config.model.aux_channels = 64
    config.optim.base_lr = 0.02
    config.train.batch_size = 8
    config.train.epochs = 20.0
    config.train.log_every_steps = 10
    config.train.eval_every_epochs = 5.0
    config.train.checkpoint_every_steps = 200
    return recipes.apply(config, arguments, {"resnet50": resnet50})
