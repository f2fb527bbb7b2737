"""EncNet on NYU Depth v2 (40 classes, 640x480 images of rooms).

python train.py --config configs/nyuv2.py                    EncNet-50
python train.py --config configs/nyuv2.py:fcn                the baseline
python train.py --config configs/nyuv2.py:classes13          13 groups of the classes
python train.py --config configs/nyuv2.py:piecewise_crf      a CRF, trained piecewise
python train.py --config configs/nyuv2.py:piecewise_crf,refine
                                                             refined by early features
python train.py --config configs/nyuv2.py:tiny,half,folder   for CPUs, from folders

Training starts from ImageNet weights, except with `tiny`; see configs/ade20k.py. The
official 654 test images are scored, also during training, where they determine which
checkpoint is the best. The schedule is our choice; the EncNet paper has no results on
this data set. Published for 40 classes and colour images without depth: 40.6 % mIoU
(piecewise CRF, VGG-16). Not yet reproduced here.
"""

from encnet_jax.config import defaults, recipes
from encnet_jax.data.sources.info import class_lines


def classes13(config):
    """The 13 classes of Couprie et al., into which the 40 classes are merged."""
    config.data.name = "nyuv2_13"


def half(config):
    """Inputs of 320x240, for CPUs; scores use the original labels of 640x480."""
    config.data.input_scale = 0.5
    config.data.crop_size = 192
    config.eval.base_size = 320
    config.optim.base_lr = 0.02
    config.train.epochs = 18.0


def folder(config):
    """Reads images and masks from folders without preparation.

    For copies of the data set whose masks have the ids 0..38 (39 classes, without
    "otherprop") and 255 for unlabelled pixels. Scores are not comparable with those on
    40 classes.
    """
    config.data.name = "folder"
    config.data.val_split = "val"
    config.data.folder.images = "NYUv2/{split}/images"
    config.data.folder.masks = "NYUv2/{split}/masks"
    config.data.folder.class_names = class_lines("nyuv2")[:39]
    config.data.folder.ignore_ids = (255,)


def get_config(arguments=""):
    """Returns the configuration: EncNet-50, batch size 16, 120 epochs."""
    config = defaults.get_config()
    config.init_from = "imagenet"
    config.data.name = "nyuv2"
    config.data.val_split = "test"
    config.data.crop_size = 480
    config.eval.base_size = 640
    config.optim.base_lr = 0.01
    config.train.epochs = 120.0
    config.train.eval_every_epochs = 10.0
    words = {"classes13": classes13, "half": half, "folder": folder}
    return recipes.apply(config, arguments, words)
