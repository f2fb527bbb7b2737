"""The registry of data sets: each module declares the data set of the same name.

The declaration is the module's constant `DATA_SET`.
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
    """Returns the declaration of a built-in data set.

    Raises:
        UserError: no data set has this name, or it is described in a configuration, as
            'folder' and 'image_folder' are.
    """
    member = DATA_SETS.get(name)
    if not isinstance(member, DatasetInfo):
        raise UserError(
            f"the data set {name!r} is described in a configuration and cannot be used"
            f" here; expected one of: {', '.join(declared())}"
        )
    return member


def declared() -> dict[str, DatasetInfo]:
    """Returns {name: declaration} of the built-in data sets.

    'folder' and 'image_folder' are not included: a configuration describes them.
    """
    members = {name: DATA_SETS.get(name) for name in DATA_SETS}
    return {n: m for n, m in members.items() if isinstance(m, DatasetInfo)}


def dataset_info(data: Any) -> DatasetInfo:
    """Returns the declaration of the data set that a configuration selects.

    Args:
        data: section `data` of the configuration.

    Raises:
        UserError: no data set is called data.name, or data.folder does not describe a
            data set.
    """
    member = DATA_SETS.get(data.name)
    return member if isinstance(member, DatasetInfo) else member(data)
