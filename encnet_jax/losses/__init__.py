"""The registry of loss terms. Importing this package does not load JAX.

The segmentation loss is a weighted sum of terms, which modules of this folder register:

    @LOSSES.register("dice", weight="dice_weight", fields={"loss.dice_weight": ...})
    def dice(inputs): ...

The function accepts a terms.Inputs and returns this device's contribution to the term,
f32[], or a dict {name: contribution} for several terms. The contributions of all
devices add up to the term. Most contributions are sums over the pixels or images of
this device, divided by the number of pixels or images on all devices. Optional
arguments of `register`:

    weight: name of the field in section `loss` that multiplies the term; without this
        argument, the weight is 1. A term with weight 0 is not computed.
    reads: names of the network outputs that the term needs, by default 'logits'. If an
        output is missing, the term is not computed.
    fields: {name: Field}, configuration fields of the term.
    excludes: pairs of fields; at most one field of a pair may differ from 0.
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
