"""Road segmentation on KITTI road (375x1242 images): FCN, DUC-HDC or EncNet.

python train.py --config configs/kitti_road.py                    ResNet-101, FCN
python train.py --config configs/kitti_road.py:duc,hdc_bigger     DUC-HDC
python train.py --config configs/kitti_road.py:duc,hdc_bigger,all without validation

Training starts from ImageNet weights; see configs/ade20k.py.

A fifth of the 289 training images is used for validation. The split and the schedule
are our choice. Scores are IoU, `road_f1`, MaxF and average precision in image space; if
calibrations were prepared, also MaxF and average precision in bird's-eye view. The
DUC-HDC paper reports MaxF 96.41 % on the test server, in bird's-eye view; not yet
reproduced here.
"""

from functools import partial

from encnet_jax.config import defaults, recipes


def _dilation(config, name):
    config.model.dilation = name


def everything(config):
    """Trains on all labelled images, for example for a submission."""
    config.data.train_split = "trainval"
    config.data.val_split = ""


def get_config(arguments=""):
    """Returns the configuration: FCN-101, batch size 8, 200 epochs."""
    config = defaults.get_config()
    config.init_from = "imagenet"
    config.data.name = "kitti_road"
    config.data.crop_size = 320
    config.data.augment.rotate_degrees = 0.0
    config.eval.base_size = 1248
    config.model.name = "fcn"
    config.model.backbone = "resnet101"
    config.optim.base_lr = 2.5e-4
    config.optim.weight_decay = 5e-4
    config.train.batch_size = 8
    config.train.epochs = 200.0
    config.train.eval_every_epochs = 20.0
    words = {
        "hdc_rf": partial(_dilation, name="hdc_rf"),
        "hdc_bigger": partial(_dilation, name="hdc_bigger"),
        "all": everything,
    }
    return recipes.apply(config, arguments, words)
