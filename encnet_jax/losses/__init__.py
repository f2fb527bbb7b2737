"""The registry of loss terms. Importing this package does not load JAX.

The segmentation loss is a weighted sum of terms. Modules of this folder register them:

    @LOSSES.register("dice", weight="dice_weight", fields={"loss.dice_weight": ...})
    def dice(inputs): ...

The function takes a terms.Inputs and returns this device's share of the term, f32[], or
several shares as a dict name -> share. A share is a sum over the pixels or images of
this device, divided by their number on all devices. The shares of all devices add up to
the term. A registration may declare

    weight: name of the field in section `loss` that multiplies the term; by default the
        weight is 1. A term with weight 0 is not computed.
    reads: names of the network outputs that the term needs, by default 'logits'. If the
        network does not return them, the term is not computed.
    fields: configuration fields of the term.
    excludes: pairs of fields that cannot both be set.
"""

import importlib
from typing import Any

from encnet_jax.registry import Registry, discover

LOSSES: Registry = Registry("loss term")
discover(__name__, __path__[0], LOSSES=LOSSES)

_PUBLIC = {
    "PixelOptions": "segmentation",
    "class_presence": "labels",
    "classification_loss": "classification",
    "network_loss": "segmentation",
    "node_labels": "labels",
    "segmentation_loss": "segmentation",
    "thinned_labels": "labels",
    "upsampled_cross_entropy": "cross_entropy",
}
__all__ = ("LOSSES", *_PUBLIC)  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    """Imports a public name on first use."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_PUBLIC[name]}")
    return getattr(module, name)
