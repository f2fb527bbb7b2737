"""The loss terms for pixels: cross-entropy of the main and the auxiliary logits."""

import jax

from encnet_jax.fields import COUNT, Field, between
from encnet_jax.losses import LOSSES
from encnet_jax.losses.cross_entropy import upsampled_cross_entropy
from encnet_jax.losses.terms import Inputs


@LOSSES.register(
    "pixel",
    fields={
        "loss.focal_gamma": Field(
            0.0,
            between(0, 100),
            "Focal loss: exponent of the factor (1 - p), where p is the probability of"
            " a pixel's label; 0: no focal loss.",
        ),
        "loss.ohem_threshold": Field(
            0.0,
            between(0, 1),
            "Online hard example mining over the global batch: keep pixels whose label"
            " has a probability below this threshold; 0: no threshold.",
        ),
        "loss.ohem_min_kept": Field(
            0,
            COUNT,
            "Online hard example mining: keep at least this average number of pixels"
            " per image, namely the hardest pixels of the global batch. With"
            " loss.ohem_threshold 0, only these pixels are kept; if both fields are 0,"
            " all pixels are kept.",
        ),
    },
    excludes=(("loss.focal_gamma", "loss.label_smoothing"),),
)
def pixel(inputs: Inputs) -> jax.Array:
    """Returns this device's contribution to the mean cross-entropy of the main logits.

    Source: section 3.1 of the paper.
    """
    return _cross_entropy(inputs, "logits")


@LOSSES.register(
    "aux",
    weight="aux_weight",
    reads=("aux_logits",),
    fields={
        "loss.aux_weight": Field(
            0.2, between(0, 1e6), "Weight of the loss of the auxiliary logits."
        )
    },
)
def aux(inputs: Inputs) -> jax.Array:
    """Returns this device's contribution to the loss of the auxiliary logits.

    The loss is the mean cross-entropy over labelled pixels.
    """
    return _cross_entropy(inputs, "aux_logits")


def _cross_entropy(inputs: Inputs, name: str) -> jax.Array:
    loss = inputs.loss
    total = upsampled_cross_entropy(
        inputs.outputs[name],
        inputs.targets[name],
        class_weights=tuple(loss.class_weights),
        focal_gamma=loss.focal_gamma,
        label_smoothing=loss.label_smoothing,
        **inputs.grid,
    )
    return total / inputs.totals[name]
