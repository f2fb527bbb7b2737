"""EncNet-tiny on generated scenes: minutes on a CPU, no download.

python train.py --config configs/quickstart.py         EncNet
python train.py --config configs/quickstart.py:fcn     the baseline, without context

Patches that look the same have different labels in different kinds of scenes, and only
cues elsewhere in the image show the kind of scene, as in the paper's Figure 4.
"""

from encnet_jax.config import defaults, recipes


def get_config(arguments=""):
    """Returns the configuration: EncNet-tiny, batch size 16."""
    config = defaults.get_config()
    config.data.name = "scenes"
    config.data.crop_size = 192
    config.eval.base_size = 192
    # Crops would cut off the cues that determine the labels.
    config.data.augment.scale_min = 1.0
    config.data.augment.scale_max = 1.0
    config.data.augment.rotate_degrees = 0.0
    recipes.tiny(config)
    config.optim.base_lr = 0.05
    config.train.batch_size = 16
    config.train.epochs = 12.0
    config.train.max_minutes = 5.0  # Limit for slow machines.
    config.train.log_every_steps = 10
    config.train.eval_every_epochs = 4.0
    config.train.checkpoint_every_steps = 100
    config.eval.batch_size = 16
    return recipes.apply(config, arguments)
