"""Default configurations of published networks."""

import ml_collections

from encnet_jax.config import defaults
from encnet_jax.errors import UserError
from encnet_jax.weights import Published


def network_config(entry: Published) -> ml_collections.ConfigDict:
    """Returns the configuration of a published network, before it is resolved.

    Raises:
        UserError: the weights are those of a backbone without a head.
    """
    if not entry.dataset:
        raise UserError(
            f"{entry.name} is a backbone without a classifier: train from it with"
            f" train.py --config.init_from={entry.name}"
        )
    config = defaults.get_config()
    config.data.name = entry.dataset
    config.update_from_flattened_dict(dict(entry.fields))
    return config
