"""DUC-HDC, EncNet and FCN on Cityscapes (19 classes, 1024x2048).

python train.py --config configs/cityscapes.py                     ResNet-101, FCN
python train.py --config configs/cityscapes.py:duc                 DUC
python train.py --config configs/cityscapes.py:duc,hdc_bigger      DUC-HDC
python train.py --config configs/cityscapes.py:encnet,hdc_rf       EncNet with HDC
python train.py --config configs/cityscapes.py:released            as released
python train.py --config configs/cityscapes.py:duc,twelve_crops    longer epochs
python train.py --config configs/cityscapes.py:duc,coarse          on coarse labels

Source: "Understanding Convolution for Semantic Segmentation" (WACV 2018). The authors'
code has crops of 800x800 pixels around seven centres per image, five scales, and 20
epochs of 20,825 crops, seven per image (here: 140 epochs of one crop per image). The
learning rate 2.5e-4, the poly schedule and the weight decay 5e-4 are those of the
paper, as quoted by a fork. Batch size, backbone and synchronised batch norms are our
choice; `released` has the authors' network and batch size.

Training starts from ImageNet weights, except `released`; see configs/ade20k.py.

Published (validation, % mIoU): baseline 72.3; DUC 74.7 with augmentation and cells of
2x2 pixels; DUC-HDC 75.4 (hdc_rf) and 76.4 (hdc_bigger). Not yet reproduced here.
"""

from functools import partial

from encnet_jax.config import defaults, recipes

CROPS_PER_IMAGE = 7
TWELVE_CROPS = 12


def _dilation(config, name):
    config.model.dilation = name


def duc(config):
    """The DUC head with the four branches of the released network."""
    config.model.name = "duc"


def released(config):
    """Continues training the released network with the settings of the released code.

    Add --config.init_from=FILE.params with the released weights; batch norms keep their
    running statistics.
    """
    duc(config)
    config.init_from = ""
    config.architecture = "duc_released"
    config.model.dilation = "hdc_released"
    config.optim.base_lr = 1e-4
    config.optim.schedule = "halving"
    config.optim.halving_parts = 6  # Every 5 epochs from 20 to 50.
    config.optim.weight_decay = 5e-5
    config.train.epochs = 30.0 * CROPS_PER_IMAGE
    config.train.batch_size = 1
    config.eval.flip = False


def twelve_crops(config):
    """Lengthens an epoch from seven crops per image (20,825) to twelve (35,700).

    Twelve is the paper's number, as quoted in issue 6 of TuSimple-DUC; the released
    code has seven.
    """
    ratio = TWELVE_CROPS / CROPS_PER_IMAGE
    config.train.epochs *= ratio
    config.train.eval_every_epochs *= ratio


def coarse(config):
    """Trains on the coarsely labelled images; then start another run from this one.

    The DUC paper's 80.1 % mIoU on the test set uses these images. One epoch has one
    crop per image. First prepare the split from leftImg8bit_trainextra.zip and
    gtCoarse.zip.
    """
    config.data.train_split = "train_extra"
    config.train.epochs = 20.0
    config.train.eval_every_epochs = 5.0


def get_config(arguments=""):
    """Returns the configuration: FCN-101, batch size 8."""
    config = defaults.get_config()
    config.init_from = "imagenet"
    config.data.name = "cityscapes"
    config.data.crop_size = 800
    augment = config.data.augment
    augment.scales = (0.5, 0.75, 1.0, 1.25, 1.5)
    augment.rotate_degrees = 0.0
    augment.crop_centres = tuple((512, 256 * i) for i in range(1, 8))
    augment.crop_jitter = 120
    config.model.name = "fcn"
    config.model.backbone = "resnet101"
    config.optim.base_lr = 2.5e-4
    config.optim.weight_decay = 5e-4
    config.train.batch_size = 8
    config.train.epochs = 20.0 * CROPS_PER_IMAGE
    config.train.eval_every_epochs = 5.0 * CROPS_PER_IMAGE
    config.train.val_protocol = "centre_crop"
    config.eval.batch_size = 1  # Images of 1024x2048.
    words = {
        "duc": duc,
        "hdc_rf": partial(_dilation, name="hdc_rf"),
        "hdc_bigger": partial(_dilation, name="hdc_bigger"),
        "released": released,
        "twelve_crops": twelve_crops,
        "coarse": coarse,
    }
    return recipes.apply(config, arguments, words)
