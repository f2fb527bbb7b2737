"""SE-losses: binary cross-entropy for the presence of each class in an image."""

import jax
import jax.numpy as jnp
import optax

from encnet_jax.fields import Field, between
from encnet_jax.losses import LOSSES
from encnet_jax.losses.labels import class_presence
from encnet_jax.losses.terms import Inputs


@LOSSES.register(
    "se",
    weight="se_weight",
    reads=("se_logits",),
    fields={
        "loss.se_weight": Field(
            0.2, between(0, 1e6), "Weight of each SE-loss, alpha in the paper."
        )
    },
)
def se(inputs: Inputs) -> jax.Array:
    """Returns this device's contribution to the SE-loss.

    The SE-loss is the binary cross-entropy for the presence of a class in an image,
    averaged over all classes and over all images with a labelled pixel.

    Source: section 2.1 of the paper.
    """
    return _presence(inputs, "se_logits")


@LOSSES.register("aux_se", weight="se_weight", reads=("aux_se_logits",))
def aux_se(inputs: Inputs) -> jax.Array:
    """Returns this device's contribution to the auxiliary head's SE-loss; see `se`."""
    return _presence(inputs, "aux_se_logits")


def _presence(inputs: Inputs, name: str) -> jax.Array:
    logits = inputs.outputs[name]
    num_classes = logits.shape[-1]
    presence = class_presence(inputs.labels, num_classes)
    each = optax.sigmoid_binary_cross_entropy(logits, presence)
    total = jnp.sum(each * inputs.has_label[:, None].astype(each.dtype))
    return total / (inputs.totals["images"] * num_classes)
