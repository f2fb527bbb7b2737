"""EncNet on SUN RGB-D (37 classes, images of rooms, about 530x730).

python train.py --config configs/sunrgbd.py                          EncNet-50
python train.py --config configs/sunrgbd.py:fcn                      the baseline
python train.py --config configs/sunrgbd.py:piecewise_crf            a CRF
python train.py --config configs/sunrgbd.py:piecewise_crf,refine     refined by early
                                                                     features
Training starts from ImageNet weights; see configs/ade20k.py.

Depth is not used. The official 5,050 test images are also scored during training. The
schedule is our choice. Published (piecewise CRF, VGG-16): 42.3 % mIoU. Not yet
reproduced here.
"""

from encnet_jax.config import defaults, recipes


def get_config(arguments=""):
    """Returns the configuration: EncNet-50, batch size 16, 60 epochs."""
    config = defaults.get_config()
    config.init_from = "imagenet"
    config.data.name = "sunrgbd"
    config.data.val_split = "test"
    config.data.crop_size = 480
    config.eval.base_size = 640
    config.optim.base_lr = 0.01
    config.train.epochs = 60.0
    config.train.eval_every_epochs = 10.0
    return recipes.apply(config, arguments)
