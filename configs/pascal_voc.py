"""EncNet on PASCAL VOC 2012 (20 classes and background), as in section 3.3 and Table 3.

python train.py --config configs/pascal_voc.py:resnet101          10,582 images; scored
                                                                  on val
python train.py --config configs/pascal_voc.py:resnet101,with_val 12,031 images; for the
                                                                  test server
python train.py --config configs/pascal_voc.py:resnet101,finetune --config.init_from=RUN
                                                                  then only VOC's train
python train.py --config configs/pascal_voc.py:release,resnet101  as released
python train.py --config configs/pascal_voc.py:piecewise_crf,resnet101
python train.py --config configs/pascal_voc.py:piecewise_crf,resnet101,refine
                                                                  with early features

Training starts from ImageNet weights; see configs/ade20k.py.

Published on the test server: 82.9 % mIoU, and 85.9 % after training on COCO first
(configs/coco_voc.py). Not yet reproduced here. The paper does not name the backbone;
the released networks are ResNet-101. `with_val` trains on val, so nothing is scored.
"""

from encnet_jax.config import defaults, recipes


def with_val(config):
    """The paper's first stage for the test server: trains on train, aug and val."""
    config.data.train_split = "train_aug_val"
    config.data.val_split = ""


def finetune(config):
    """The paper's last stage: trains only on VOC's training set, without SBD."""
    config.data.train_split = "train"
    config.data.val_split = ""


def release_head(config):
    """The latest released code, with its longer training on the augmented set."""
    recipes.pascal_release_head(config)
    config.train.epochs = 80.0


def get_config(arguments=""):
    """Returns the configuration: EncNet-50, batch size 16, 50 epochs."""
    config = defaults.get_config()
    config.init_from = "imagenet"
    config.data.name = "pascal_voc"
    config.data.train_split = "train_aug"
    config.optim.base_lr = 0.001
    config.train.epochs = 50.0
    config.train.val_protocol = "centre_crop"
    words = {
        "with_val": with_val,
        "finetune": finetune,
        "release": recipes.pascal_release_2018,
        "release_2018": recipes.pascal_release_2018,
        "release_head": release_head,
    }
    recipes.apply(config, arguments, words)
    if config.architecture == "release" and config.data.train_split == "train":
        # The released code adds the validation images when it trains without SBD.
        config.data.train_split = "trainval"
        config.optim.base_lr = 0.0001
        config.train.epochs = 50.0
    return config
