"""EncNet on COCO with the classes of PASCAL VOC: pre-training of section 3.3, Table 3.

python train.py --config configs/coco_voc.py:resnet101           then, from its workdir,
python train.py --config configs/pascal_voc.py:resnet101,with_val \\
    --config.init_from=runs/coco_voc-resnet101

Training starts from ImageNet weights; see configs/ade20k.py.

Published on the test server after three stages: 85.9 % mIoU. Not yet reproduced here.
The paper gives the base rate 0.01 but no length; 30 epochs are the released code's. It
counts 6.5 K images, the rule it names (more than 1,000 labelled pixels) keeps far more.
"""

from encnet_jax.config import defaults, recipes


def release_head(config):
    """Today's released code has a lower rate."""
    recipes.pascal_release_head(config)
    config.optim.base_lr = 0.004


def get_config(arguments=""):
    """Returns EncNet-50 with batch 16 for 30 epochs."""
    config = defaults.get_config()
    config.init_from = "imagenet"
    config.data.name = "coco_voc"
    config.train.epochs = 30.0
    config.train.val_protocol = "centre_crop"
    words = {
        "release": recipes.pascal_release_2018,
        "release_2018": recipes.pascal_release_2018,
        "release_head": release_head,
    }
    return recipes.apply(config, arguments, words)
