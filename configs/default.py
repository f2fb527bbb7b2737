"""The default configuration, for commands that need a configuration but no recipe.

python -m encnet_jax.data.check --config configs/default.py --config.data.name=camvid
"""

from encnet_jax.config import defaults, recipes


def get_config(arguments=""):
    """Returns the default configuration, changed by general recipes."""
    return recipes.apply(defaults.get_config(), arguments)
