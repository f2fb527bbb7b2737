"""The smallest training run; tests that share it share its compiled programs."""

from encnet_jax import config as config_lib


def smoke_config(**fields):
    """Four steps of a tiny network on generated scenes, with 8 validation images."""
    config = config_lib.load("configs/quickstart.py:smoke")
    config.model.head_channels, config.model.aux_channels = 16, 8
    config.data.crop_size = 32
    config.train.num_pictures = 1
    config.update_from_flattened_dict(fields)
    return config
