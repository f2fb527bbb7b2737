"""EncNet on ADE20K (150 classes), as in section 3.4 and Table 4 of the paper.

python train.py --config configs/ade20k.py                       EncNet-50, paper
python train.py --config configs/ade20k.py:resnet101             EncNet-101, paper
python train.py --config configs/ade20k.py:fcn                   the baseline
python train.py --config configs/ade20k.py:release,resnet101     as released

Published (multi-scale): FCN-50 34.38, EncNet-50 41.11, EncNet-101 44.65 % mIoU. Not yet
reproduced here. The paper gives no crop size; 480 is the released code's.
"""

from configs import arguments as arguments_lib
from configs import base


def release_head(config):
    """The learning rate and length that today's released code uses for ADE20K."""
    config.optim.base_lr = 0.004
    config.train.epochs = 180.0


def get_config(arguments=""):
    """Returns EncNet-50 with batch 16 for 120 epochs."""
    config = base.get_config()
    config.data.name = "ade20k"
    return arguments_lib.apply(config, arguments, {"release_head": release_head})
