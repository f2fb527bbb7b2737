"""The registry of data sets.

Each module of this package defines the data set of the same name in its constant
`DATA_SET`.
"""

import pkgutil
from typing import Any

from encnet_jax.data.sources.info import DatasetInfo
from encnet_jax.errors import UserError
from encnet_jax.registry import Registry

# Name -> a DatasetInfo, or a function of section `data` that returns a DatasetInfo.
DATA_SETS: Registry[Any] = Registry(
    "data set",
    {
        module.name: f"{__name__}.{module.name}:DATA_SET"
        for module in pkgutil.iter_modules(__path__)
    },
)


def named_info(name: str) -> DatasetInfo:
    """Returns the DatasetInfo (classes, splits, ids) of a built-in data set.

    Raises:
        UserError: no data set is registered under `name`, or `name` is 'folder' or
            'image_folder', whose classes depend on the configuration.
    """
    member = DATA_SETS.get(name)
    if not isinstance(member, DatasetInfo):
        raise UserError(
            f"the data set {name!r} is described in a configuration and cannot be"
            f" prepared or exported; expected one of: {', '.join(declared())}"
        )
    return member


def declared() -> dict[str, DatasetInfo]:
    """Returns {name: DatasetInfo} of the built-in data sets.

    The data sets 'folder' and 'image_folder' are excluded because their classes depend
    on the configuration.
    """
    members = {name: DATA_SETS.get(name) for name in DATA_SETS}
    return {n: m for n, m in members.items() if isinstance(m, DatasetInfo)}


def dataset_info(data: Any) -> DatasetInfo:
    """Returns the DatasetInfo of the data set that a configuration selects.

    Args:
        data: Section `data` of the configuration.

    Raises:
        UserError: no data set has the name data.name, or data.name is 'folder' or
            'image_folder' and section `data.folder` is invalid.
    """
    member = DATA_SETS.get(data.name)
    return member if isinstance(member, DatasetInfo) else member(data)
