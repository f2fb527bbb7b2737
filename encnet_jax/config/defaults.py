"""The default configuration, built from the table of fields."""

import ml_collections
from ml_collections.config_dict import placeholder

from encnet_jax.config import table


def get_config() -> ml_collections.ConfigDict:
    """Returns the default configuration: EncNet-50 with the architecture 'tuned'."""
    config = ml_collections.ConfigDict()
    for name, field in table.fields().items():
        *groups, last = name.split(".")
        node = config
        for each in groups:
            if each not in node:
                node[each] = ml_collections.ConfigDict()
            node = node[each]
        unset = field.default is None
        node[last] = placeholder(field.kind) if unset else field.default
    return config
