"""Default configurations of published networks."""

import ml_collections

from encnet_jax.config import defaults
from encnet_jax.errors import UserError
from encnet_jax.weights import Published


def network_config(entry: Published) -> ml_collections.ConfigDict:
    """Returns the unresolved configuration of a published network.

    Raises:
        UserError: the weights are for a backbone without a head.
    """
    if not entry.dataset:
        raise UserError(
            f"{entry.name} is a backbone without a classifier: initialise a training"
            f" run with train.py --config.init_from={entry.name}"
        )
    config = defaults.get_config()
    config.data.name = entry.dataset
    config.update_from_flattened_dict(dict(entry.fields))
    return config
