"""CIFAR-10 with the 14-layer networks of Table 6, as in section 3.5 of the paper.

python train.py --config configs/cifar10.py:encnet16k64d      3.5 M parameters
python train.py --config configs/cifar10.py:encnet32k64d      4.2 M, Figure 7
python train.py --config configs/cifar10.py:encnet32k128d    16.8 M
python train.py --config configs/cifar10.py:resnet64d         2.8 M, baseline
python train.py --config configs/cifar10.py:se_resnet64d      2.8 M, baseline

These train on all 50,000 images and score nothing during training; afterwards
`python eval.py --workdir RUN --split test` measures the test error once.
`:MODEL,curves` trains on 45,000 images and validates on the other 5,000, for Figure 7;
`:MODEL,cpu` has the same split and a short schedule: minutes on a CPU.

`:MODEL,authors` follows the authors' code instead of the paper's text.

Published test errors: ResNet 4.93, SE-ResNet 4.65, EncNet-16k64d 3.96, EncNet-32k128d
3.45 %. The paper reports no base learning rate; the authors' code uses 0.1. See
docs/cifar10.md for details.
"""

from functools import partial

from encnet_jax.config import defaults, recipes


def _model(config, *, name, width, num_codes=0):
    config.model.name = name
    config.model.width = width
    config.model.num_codes = num_codes


def curves(config):
    """Figure 7: validates on the last 5,000 training images after each epoch."""
    config.data.train_split = "train_without_val"
    config.data.val_split = "val"
    config.train.eval_every_epochs = 1.0
    config.train.log_every_steps = 10


def cpu(config):
    """Like `curves`, with a short schedule that takes minutes on a CPU."""
    curves(config)
    config.optim.base_lr = 0.05
    config.train.batch_size = 32
    config.train.total_steps = 300
    config.train.log_every_steps = 1
    config.train.eval_every_epochs = 30 / 1406  # 30 of 45,000 // 32 steps.
    config.eval.max_images = 500
    config.eval.batch_size = 100


def authors(config):
    """Networks and training of the authors' code, which differ from the paper."""
    config.model.block = "authors"
    config.data.channel_std = (0.2023, 0.1994, 0.2010)
    config.data.keep_last_batch = True
    # The authors' code counts epochs from 1.
    config.optim.cosine_ahead = 1 / config.train.get_ref("epochs")


def smoke(config):
    """Four steps of a narrow network on generated images."""
    recipes.smoke(config)
    curves(config)
    config.data.name = "discs"
    config.data.crop_size = 32
    config.model.width = 8


MODELS = {
    "resnet64d": partial(_model, name="resnet", width=64),
    "se_resnet64d": partial(_model, name="se_resnet", width=64),
    "encnet16k64d": partial(_model, name="encnet", width=64, num_codes=16),
    "encnet32k64d": partial(_model, name="encnet", width=64, num_codes=32),
    "encnet32k128d": partial(_model, name="encnet", width=128, num_codes=32),
}


def get_config(arguments=""):
    """Returns the configuration: EncNet-16k64d, batch size 128, 600 epochs."""
    config = defaults.get_config()
    config.task = "classification"
    config.data.name = "cifar10"
    config.data.val_split = ""
    config.data.crop_size = 32
    config.data.on_device = True
    config.model.draw_smoothing = True
    config.optim.base_lr = 0.1
    config.optim.schedule = "cosine"
    config.optim.weight_decay = 5e-4
    config.train.batch_size = 128
    config.train.epochs = 600.0
    config.train.checkpoint_every_steps = 5000
    config.train.num_pictures = 0
    config.eval.batch_size = 500
    MODELS["encnet16k64d"](config)
    words = {**MODELS, "curves": curves, "cpu": cpu, "authors": authors, "smoke": smoke}
    return recipes.apply(config, arguments, words)
