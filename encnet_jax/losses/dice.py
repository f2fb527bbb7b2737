"""Dice loss: 1 minus the Dice coefficient, averaged over classes."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Float, UInt8

from encnet_jax.fields import Field, between
from encnet_jax.labels import IGNORE_LABEL
from encnet_jax.losses import LOSSES
from encnet_jax.losses.labels import class_counts
from encnet_jax.losses.row_blocks import CLASSES, log_sum_exp, over_pixels
from encnet_jax.losses.terms import Inputs


@LOSSES.register(
    "dice",
    weight="dice_weight",
    fields={
        "loss.dice_weight": Field(
            0.0, between(0, 1e6), "Weight of the Dice loss of the main logits."
        )
    },
)
def dice(inputs: Inputs) -> jax.Array:
    """Returns this device's contribution to the Dice loss of the main logits."""
    logits, labels = inputs.outputs["logits"], inputs.all_targets["logits"]
    return dice_loss(logits, labels, axis_name=inputs.axis_name, **inputs.grid)


def dice_loss(
    logits: Float[jax.Array, "B h w C"],
    labels: UInt8[jax.Array, "B H W"],
    *,
    align_corners: bool = True,
    row_blocks: int = 20,
    axis_name: str | None = None,
) -> Float[jax.Array, ""]:
    """Returns this device's contribution to the Dice loss.

    The loss is 1 minus the mean of the Dice coefficients of all classes that occur in
    the labels. Let p be a pixel's softmax probability of a class, and let y be 1 for
    pixels that are labelled with this class and 0 for other pixels. The coefficient
    of the class, with sums over the labelled pixels of all devices, is

        2 sum(p y) / (sum(p) + sum(y))

    Args:
        logits: f32[B, h, w, C].
        labels: uint8[B, H, W], ids 0..C-1; pixels with IGNORE_LABEL are not counted.
        align_corners, row_blocks: see upsampled_cross_entropy.
        axis_name: name of the pmap axis; None for one device.

    Returns:
        f32[] in [0, 1]; the contributions of all devices add up to the loss. Without
        labelled pixels, the loss is 0.

    Source: Milletari et al., 3DV 2016, without the squares in the denominator.
    """
    # Smaller blocks than for cross-entropy: on CPUs, more arrays of a block exist.
    return _dice(logits, labels, align_corners, 2 * row_blocks, axis_name)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _dice(logits, labels, align_corners, row_blocks, axis_name):
    share, _ = _share_and_slopes(logits, labels, align_corners, row_blocks, axis_name)
    return share


def _forward(logits, labels, align_corners, row_blocks, axis_name):
    share, slopes = _share_and_slopes(
        logits, labels, align_corners, row_blocks, axis_name
    )
    _, gradient, _ = over_pixels(
        partial(_gradient, slopes=slopes),
        logits,
        labels,
        align_corners=align_corners,
        row_blocks=row_blocks,
        with_gradient=True,
    )
    return share, gradient


def _backward(align_corners, row_blocks, axis_name, gradient, cotangent):
    return cotangent * gradient, None


_dice.defvjp(_forward, _backward)


def _share_and_slopes(logits, labels, align_corners, row_blocks, axis_name):
    """Returns this device's contribution to the loss, and derivatives of the loss.

    The arguments are those of dice_loss.

    Returns:
        contribution: f32[].
        derivatives: (f32[C], f32[C]), derivatives of the loss with respect to a
            pixel's probability of each class. The first array is for pixels that are
            labelled with the class, the second array for other pixels.
    """
    sums, _, _ = over_pixels(
        _overlaps, logits, labels, align_corners=align_corners, row_blocks=row_blocks
    )
    labelled = class_counts(labels, logits.shape[-1]).astype(jnp.float32)
    sums = (*sums, labelled)
    if axis_name is not None:
        sums = jax.lax.psum(sums, axis_name)
    overlap, predicted, labelled = sums
    occurs = labelled > 0
    num_classes = jnp.maximum(jnp.sum(occurs), 1).astype(jnp.float32)
    size = jnp.where(occurs, predicted + labelled, 1.0)
    coefficients = 2 * overlap / size
    loss = jnp.sum(jnp.where(occurs, 1 - coefficients, 0.0)) / num_classes
    if axis_name is not None:
        loss /= jax.lax.axis_size(axis_name)
    scale = jnp.where(occurs, 1 / (size * num_classes), 0.0)
    return loss, (scale * (coefficients - 2), scale * coefficients)


def _probabilities(x, bound, labels):
    is_label = jax.nn.one_hot(labels, x.shape[CLASSES], dtype=bool, axis=CLASSES)
    valid = jnp.expand_dims(labels != IGNORE_LABEL, CLASSES)
    # jax.nn.softmax would store its numerator, another array as large as x.
    p = jnp.exp(x - log_sum_exp(x, bound))
    return jnp.where(valid, p, 0.0), is_label


def _overlaps(x, bound, labels):
    """Computes sum(p y) and sum(p), f32[C] each; used as `pixel_fn` of over_pixels.

    The docstring of dice_loss defines p and y.
    """
    p, is_label = _probabilities(x, bound, labels)
    parts = (jnp.where(is_label, p, 0.0), p)
    return jax.tree.map(lambda part: jnp.sum(part, axis=(0, 1, 3)), parts), None, None


def _gradient(x, bound, labels, slopes):
    """Computes the gradient of the loss with respect to logits x; used as `pixel_fn`.

    `slopes` are the derivatives that _share_and_slopes returns.
    """
    p, is_label = _probabilities(x, bound, labels)
    slope = jnp.where(is_label, *(s.reshape(1, 1, -1, 1) for s in slopes))
    return (), p * (slope - jnp.sum(p * slope, axis=CLASSES, keepdims=True)), None
