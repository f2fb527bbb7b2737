"""Runs of tiny networks with random weights, for which nothing is compiled."""

import jax
import jax.numpy as jnp
import numpy as np

from encnet_jax import config as config_lib
from encnet_jax import tasks
from encnet_jax.checkpoints import read

NUM_CLASSES = 13


def save(workdir, words: str = "", **fields):
    """Writes a checkpoint at step 0 and returns its resolved configuration.

    Args:
        workdir: new folder of the run.
        words: of the configuration, after smoke.
        fields: of the configuration that change.
    """
    config = config_lib.load(f"configs/quickstart.py:smoke,{words}")
    config.model.head_channels = 8
    config.eval.crop_size = 64
    config.update_from_flattened_dict(fields)
    config = config_lib.resolve(config, config_lib.Facts(400))
    read.save_variables(str(workdir), random_variables(config), config)
    return config


def random_variables(config):
    """Weights that nothing was compiled for; signals keep their size through layers."""
    model = tasks.of(config).build_model(NUM_CLASSES)
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x), images)
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        if path[-1].key in ("scale", "var"):
            return np.ones(leaf.shape, np.float32)
        fan_in = max(1, np.prod(leaf.shape[:-1]))
        spread = 4 if "classifier" in str(path) else 1.4
        return rng.normal(0, spread / fan_in**0.5, leaf.shape).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)
