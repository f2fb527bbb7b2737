"""EncNet on SIFT-flow (33 classes, 256x256 images of outdoor scenes).

python train.py --config configs/sift_flow.py                  EncNet-50
python train.py --config configs/sift_flow.py:fcn              the baseline
python train.py --config configs/sift_flow.py:piecewise_crf    a CRF, trained piecewise

Training starts from ImageNet weights; see configs/ade20k.py.

Images are enlarged twofold, as in the paper on the piecewise CRF; scores use the
original labels of 256x256. The official 200 test images are also scored during
training. The schedule is our choice.

Published (piecewise CRF, VGG-16): 44.9 % mIoU, 88.1 % pixel accuracy. Not yet
reproduced here.
"""

from encnet_jax.config import defaults, recipes


def get_config(arguments=""):
    """Returns the configuration: EncNet-50, batch size 16, 60 epochs."""
    config = defaults.get_config()
    config.init_from = "imagenet"
    config.data.name = "sift_flow"
    config.data.val_split = "test"
    config.data.input_scale = 2.0
    config.data.crop_size = 480
    config.eval.base_size = 512
    config.optim.base_lr = 0.01
    config.train.epochs = 60.0
    config.train.eval_every_epochs = 10.0
    return recipes.apply(config, arguments)
