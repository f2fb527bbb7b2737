"""Published weights: their addresses, required configuration fields and downloads.

This package does not import JAX, because configurations look up the required field
values before JAX is loaded.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

from encnet_jax.errors import UserError
from encnet_jax.weights import publishers
from encnet_jax.weights.published import PUBLISHED, Published

__all__ = ["IMAGENET", "PUBLISHED", "Published", "imagenet"]

for _module in pkgutil.iter_modules(publishers.__path__):
    importlib.import_module(f"{publishers.__name__}.{_module.name}")

IMAGENET = "imagenet"  # Value of `init_from` with which `imagenet` selects the weights.
# docs/pretrained.md explains this order.
_PREFERRED = ("mmseg", "torchvision", "timm")


def imagenet(fields: Mapping[str, Any]) -> Published:
    """Returns the preferred published ImageNet weights for a backbone.

    Args:
        fields: {field: value} for `model.backbone` and the other fields of the
            backbone; a value of None accepts weights with any value of the field.

    Raises:
        UserError: no published weights fit these fields.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    for publisher in _PREFERRED:
        for name in PUBLISHED:
            entry = PUBLISHED.get(name)
            fits = all(entry.fields.get(n, x) == x for n, x in given.items())
            if name.startswith(f"{publisher}:") and not entry.dataset and fits:
                return entry
    shown = ", ".join(f"{name}={value!r}" for name, value in given.items())
    raise UserError(
        f"init_from is {IMAGENET!r}, but no published ImageNet weights fit {shown}:"
        " change these fields, set init_from to a weight file, or initialise randomly"
        " with --config.init_from="
    )
