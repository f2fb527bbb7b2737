"""EncNet on PASCAL-Context (59 classes): section 3.2, Tables 1 and 2 of the paper.

python train.py --config configs/pascal_context.py                   EncNet-50, tuned
python train.py --config configs/pascal_context.py:paper             EncNet-50, paper
python train.py --config configs/pascal_context.py:paper,resnet101   EncNet-101, paper
python train.py --config configs/pascal_context.py:fcn               the baseline
python train.py --config configs/pascal_context.py:background        60 classes
python train.py --config configs/pascal_context.py:release,resnet101 as released
python train.py --config configs/pascal_context.py:piecewise_crf,resnet101,background

Training starts from ImageNet weights; see configs/ade20k.py.

Published (59 classes, % mIoU): FCN-50 41.0, EncNet-50 49.2, EncNet-101 51.7, and 52.6
with several scales. Not yet reproduced here. For 60 classes, the paper counts
background as IoU 0; a model that is trained on background has lower scores.
"""

from encnet_jax.config import defaults, recipes


def background(config):
    """Trains and scores background as a 60th class."""
    config.data.name = "pascal_context60"


def release_2018(config):
    """The released code of September 2018, with its number of epochs."""
    recipes.pascal_release_2018(config)
    config.train.epochs = 80.0


def release_head(config):
    """The latest released code, with its number of epochs."""
    recipes.pascal_release_head(config)
    config.train.epochs = 80.0


def get_config(arguments=""):
    """Returns the configuration: EncNet-50, batch size 16, 50 epochs."""
    config = defaults.get_config()
    config.init_from = "imagenet"
    config.data.name = "pascal_context"
    config.optim.base_lr = 0.001
    config.train.epochs = 50.0
    config.train.val_protocol = "centre_crop"
    words = {
        "background": background,
        "release": release_2018,
        "release_2018": release_2018,
        "release_head": release_head,
    }
    return recipes.apply(config, arguments, words)
