"""The registry of data sets: one module each, named as the data set.

`DATA_SET` in the module is the declaration.
"""

import pkgutil
from typing import Any

from encnet_jax.data.info import DatasetInfo
from encnet_jax.errors import UserError
from encnet_jax.registry import Registry

# Name -> a DatasetInfo, or a function of the `data` fields that returns one.
DATA_SETS: Registry[Any] = Registry(
    "data set",
    {
        module.name: f"{__name__}.{module.name}:DATA_SET"
        for module in pkgutil.iter_modules(__path__)
    },
)


def named_info(name: str) -> DatasetInfo:
    """Returns a data set that needs no further fields.

    Raises:
        UserError: no data set has this name, or `data` fields describe it.
    """
    member = DATA_SETS.get(name)
    if not isinstance(member, DatasetInfo):
        raise UserError(
            f"the data set {name!r} needs fields of a configuration; expected"
            f" one of: {', '.join(declared())}"
        )
    return member


def declared() -> dict[str, DatasetInfo]:
    """Returns the data sets that need no further fields, by name."""
    members = {name: DATA_SETS.get(name) for name in DATA_SETS}
    return {n: m for n, m in members.items() if isinstance(m, DatasetInfo)}


def dataset_info(data: Any) -> DatasetInfo:
    """Returns the data set of a configuration.

    Args:
        data: the `data` fields of encnet_jax.config.

    Raises:
        UserError: no data set has this name, or the fields do not describe one.
    """
    member = DATA_SETS.get(data.name)
    return member if isinstance(member, DatasetInfo) else member(data)
