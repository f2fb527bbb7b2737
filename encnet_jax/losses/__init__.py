"""Losses. Importing this package does not load JAX.

The segmentation loss adds up terms. Modules of this folder register them:

    @LOSSES.register("dice", weight="dice_weight", fields={"loss.dice_weight": ...})
    def dice(inputs): ...

The function takes a terms.Inputs and returns this device's share of the term, f32[], or
a dict of shares by name. A share is a sum over this device divided by a count over all
devices, so that the shares of all devices add up to the term. A registration may
declare

    weight: field of `loss` that multiplies the term; at 0 it is not computed. Without
        it the term counts once.
    reads: outputs of the network that the term needs, by default 'logits'; a network
        without them has no such term.
    fields: configuration fields of the term.
    excludes: pairs of fields of which at most one may be set.
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
    """Imports a public function when it is first used."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_PUBLIC[name]}")
    return getattr(module, name)
