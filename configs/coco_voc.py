"""EncNet on COCO with the classes of PASCAL VOC: pre-training of section 3.3, Table 3.

python train.py --config configs/coco_voc.py:resnet101           then, from this run:
python train.py --config configs/pascal_voc.py:resnet101,with_val \\
    --config.init_from=runs/coco_voc-resnet101

Training starts from ImageNet weights; see configs/ade20k.py.

Published on the test server after three stages: 85.9 % mIoU. Not yet reproduced here.
The paper reports the base learning rate 0.01 but not the length; the released code
trains for 30 epochs. The paper reports 6.5 K images, but many more images satisfy its
condition (more than 1,000 labelled pixels), and all of them are used here.
"""

from encnet_jax.config import defaults, recipes


def release_head(config):
    """The latest released code, with its lower learning rate."""
    recipes.pascal_release_head(config)
    config.optim.base_lr = 0.004


def get_config(arguments=""):
    """Returns the configuration: EncNet-50, batch size 16, 30 epochs."""
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
