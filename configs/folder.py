"""Your own images and masks: a template that needs no preparation.

python train.py --config configs/folder.py \\
    --config.data.folder.images='my/{split}/images' \\
    --config.data.folder.masks='my/{split}/masks' \\
    --config.data.folder.class_names="('road', 'other')"

Masks are single-channel PNGs of class ids whose file stems equal those of the images.
First run `python -m encnet_jax.data.check` with the same flags to find mistakes.
"""

from encnet_jax.config import defaults, recipes


def get_config(arguments=""):
    """Returns the configuration: EncNet-50, batch size 16, 50 epochs."""
    config = defaults.get_config()
    config.data.name = "folder"
    config.optim.base_lr = 0.001
    config.train.epochs = 50.0
    return recipes.apply(config, arguments)
