"""Published weights by name: their addresses, their networks and their download.

This package does not import JAX, because two callers run before JAX is loaded:
configurations, which read the field values that the weights require, and `encnet
weights list`.
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
        fields: values of `model.backbone` and other fields that describe the backbone;
            None for fields that are not set.

    Raises:
        UserError: no published weights are for a backbone with these values.
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
        " change these fields, use a weight file, or set --config.init_from= for random"
        " weights"
    )
