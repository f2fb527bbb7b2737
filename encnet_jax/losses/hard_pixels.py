"""Online hard example mining: removes the labels of easy pixels."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Float, UInt8

from encnet_jax.labels import IGNORE_LABEL
from encnet_jax.losses.cross_entropy import pixel_nats
from encnet_jax.losses.row_blocks import CLASSES, over_pixels

# Number of bits of a non-negative float32. Interpreted as an integer, they have the
# same order.
_VALUE_BITS = 31


def hard_labels(
    logits: Float[jax.Array, "B h w C"],
    labels: UInt8[jax.Array, "B H W"],
    *,
    threshold: float,
    min_kept: int,
    align_corners: bool,
    row_blocks: int,
    axis_name: str | None = None,
) -> UInt8[jax.Array, "B H W"]:
    """Replaces the labels of easy pixels by IGNORE_LABEL.

    A pixel is easy if the predicted probability of its label is at least `threshold`.
    However, the N pixels whose labels have the lowest probabilities always keep their
    labels, and so do pixels that tie with the N-th pixel. N is `min_kept` times the
    number of images; images and pixels of all devices are counted. Computing the
    probabilities costs one more pass over the upsampled logits.

    Args:
        logits: f32[B, h, w, C].
        labels: uint8[B, H, W], ids 0..C-1 or IGNORE_LABEL.
        threshold: in [0, 1]; 0: all pixels are easy.
        min_kept: smallest number of labels to keep per image, on average over the
            batch; 0: only the threshold is used.
        align_corners, row_blocks: see upsampled_cross_entropy.
        axis_name: name of the pmap axis; None for one device.

    Returns:
        uint8[B, H, W], the labels of hard pixels, and IGNORE_LABEL for other pixels.

    Source: Shrivastava et al., CVPR 2016. The threshold and the minimum are those of
    mmsegmentation's OHEMPixelSampler, which applies the minimum to each device.
    """
    logits = jax.lax.stop_gradient(logits)
    _, _, nats = over_pixels(
        _label_nats, logits, labels, align_corners=align_corners, row_blocks=row_blocks
    )
    valid = labels != IGNORE_LABEL
    kept = nats > (-math.log(threshold) if threshold else math.inf)
    if min_kept:
        images = labels.shape[0]
        if axis_name is not None:
            images *= jax.lax.axis_size(axis_name)
        # Rounding can yield -0.0 or less, whose bits are those of a negative integer.
        nats = jnp.where(nats > 0, nats, 0.0)
        bits = jax.lax.bitcast_convert_type(nats, jnp.int32)
        bits = jnp.where(valid, bits, -1)
        kept |= bits >= _kth_largest(bits, min_kept * images, axis_name)
    return jnp.where(valid & kept, labels, IGNORE_LABEL).astype(jnp.uint8)


def _label_nats(x, bound, labels):
    """Returns the cross-entropy of each pixel; used as `pixel_fn` of over_pixels."""
    _, nats, _, _ = pixel_nats(x, bound, labels)
    return (), None, nats.squeeze(CLASSES)


def _kth_largest(values: jax.Array, k: int, axis_name: str | None) -> jax.Array:
    """Returns the k-th largest of the values on all devices, int32[].

    The result is 0 if fewer than k values are positive. The bits of the result
    are found by a binary search, for which devices exchange only counts of values.

    Args:
        values: int32[...], the values on this device.
        k: rank of the result; 1: the largest value.
        axis_name: name of the pmap axis; None for one device.
    """

    def add_bit(i, found):
        candidate = found | (1 << (_VALUE_BITS - 1 - i))
        count = jnp.sum(values >= candidate)
        if axis_name is not None:
            count = jax.lax.psum(count, axis_name)
        return jnp.where(count >= k, candidate, found)

    return jax.lax.fori_loop(0, _VALUE_BITS, add_bit, jnp.int32(0))
