"""The registry of data sets: one module per data set, with the data set's name.

The module's `DATA_SET` is the declaration.
"""

import pkgutil
from typing import Any

from encnet_jax.data.sources.info import DatasetInfo
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
    """Returns a data set that is declared without `data` fields.

    Raises:
        UserError: no data set has this name, or its declaration needs `data` fields.
    """
    member = DATA_SETS.get(name)
    if not isinstance(member, DatasetInfo):
        raise UserError(
            f"the data set {name!r} needs fields of a configuration; expected"
            f" one of: {', '.join(declared())}"
        )
    return member


def declared() -> dict[str, DatasetInfo]:
    """Returns name -> data set, for those declared without `data` fields."""
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
