"""EncNet on ADE20K (150 classes), as in section 3.4 and Table 4 of the paper.

python train.py --config configs/ade20k.py                       EncNet-50, tuned
python train.py --config configs/ade20k.py:paper                 EncNet-50, paper
python train.py --config configs/ade20k.py:paper,resnet101       EncNet-101, paper
python train.py --config configs/ade20k.py:fcn                   the baseline
python train.py --config configs/ade20k.py:release,resnet101     as released
python train.py --config configs/ade20k.py:paper,resnet101,with_val \\
    --config.init_from=runs/ade20k-paper-resnet101               Table 5: 20 more epochs

Training starts from ImageNet weights (EncNet-50: mmseg:resnet50_v1c). `encnet weights
list` prints other values for --config.init_from, docs/pretrained.md compares them, and
--config.init_from= starts from random weights.

Published (multi-scale): FCN-50 34.38, EncNet-50 41.11, EncNet-101 44.65 % mIoU. Not yet
reproduced here. The paper does not report the crop size; the released code uses 480. It
also does not report the learning rate of the 20 additional epochs; 0.01 is our choice.
"""

from encnet_jax.config import defaults, recipes

# The released code trains and scores this model on larger crops than other models.
_WIDE = ("release", "encnet", "resnet101")


def release_head(config):
    """The latest released code, with its learning rate and length for ADE20K."""
    recipes.release_head(config)
    config.optim.base_lr = 0.004
    config.train.epochs = 180.0


def with_val(config):
    """Table 5: after training, 20 additional epochs that include validation images."""
    config.data.train_split = "trainval"
    config.data.val_split = ""
    config.train.epochs = 20.0


def get_config(arguments=""):
    """Returns the configuration: EncNet-50, batch size 16, 120 epochs."""
    config = defaults.get_config()
    config.init_from = "imagenet"
    config.data.name = "ade20k"
    config.train.val_protocol = "centre_crop"
    words = {"release_head": release_head, "with_val": with_val}
    recipes.apply(config, arguments, words)
    model = config.model
    if (config.architecture, model.name, model.backbone) == _WIDE:
        config.data.augment.base_size, config.data.crop_size = 640, 576
    return config
