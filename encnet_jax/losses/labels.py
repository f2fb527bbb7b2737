"""Resamples label maps to other resolutions, and counts the classes in label maps."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32, Int32, UInt8

from encnet_jax.labels import IGNORE_LABEL
from encnet_jax.models.resize import sample_positions


def thinned_labels(
    labels: UInt8[jax.Array | np.ndarray, "B H W"],
    logits: Float[jax.Array | np.ndarray, "B h w C"],
) -> UInt8[jax.Array | np.ndarray, "B h w"]:
    """Subsamples labels to the resolution of the logits.

    Each position of the logits covers a square of ceil(H / h) x ceil(H / h) pixels. The
    position receives the label of the top left pixel of the square.

    Args:
        labels: uint8[B, H, W].
        logits: [B, h, w, C].

    Returns:
        uint8[B, h, w].

    Raises:
        ValueError: the subsampled labels do not have the size of the logits.

    Source: the loader of the authors' code for Wang et al., WACV 2018.
    """
    cell = -(-labels.shape[1] // logits.shape[1])
    thinned = labels[:, ::cell, ::cell]
    if thinned.shape[1:] != logits.shape[1:3]:
        raise ValueError(
            f"labels of shape {labels.shape} have shape {thinned.shape} after"
            f" subsampling by a factor of {cell}; expected the height and width of the"
            f" logits, whose shape is {logits.shape}"
        )
    return thinned


def class_presence(
    labels: UInt8[jax.Array, "B H W"], num_classes: int
) -> Float32[jax.Array, "B {num_classes}"]:
    """Returns which classes occur in each image, f32[B, C]: 1 if present, else 0.

    Args:
        labels: uint8[B, H, W], ids 0..C-1 or IGNORE_LABEL.
        num_classes: C.

    Source: section 3.1 of the paper ("unique" classes of the ground-truth mask).
    """
    # Presence is stored as bits of 32-bit words: comparing pixels with every class
    # would need num_classes times the memory of the labels.
    flat = labels.reshape(labels.shape[0], -1).astype(jnp.uint32)
    word, bit = flat >> 5, jnp.uint32(1) << (flat & 31)
    words = jnp.stack(
        [
            jnp.bitwise_or.reduce(jnp.where(word == i, bit, jnp.uint32(0)), axis=1)
            for i in range(-(-num_classes // 32))
        ],
        axis=1,
    )
    classes = np.arange(num_classes, dtype=np.uint32)
    return (words[:, classes >> 5] >> (classes & 31)[None] & 1).astype(jnp.float32)


def total_weight(
    labels: UInt8[jax.Array, "B H W"], class_weights: tuple[float, ...] = ()
) -> Float32[jax.Array, ""]:
    """Sums the class weights of the labels over all labelled pixels; returns f32[].

    Args:
        labels: uint8[B, H, W], ids 0..C-1 or IGNORE_LABEL.
        class_weights: C weights, one for each class; or (): all weights are 1, and
            the result is the number of labelled pixels.
    """
    if not class_weights:
        return jnp.sum(labels != IGNORE_LABEL).astype(jnp.float32)
    counts = class_counts(labels, len(class_weights)).astype(jnp.float32)
    return jnp.sum(counts * jnp.asarray(class_weights, jnp.float32))


def class_counts(
    labels: UInt8[jax.Array, "B H W"], num_classes: int
) -> Int32[jax.Array, " {num_classes}"]:
    """Counts the pixels of each class in labels uint8[B, H, W]; returns int32[C]."""
    # One class after the other; all at once would need an array of the logits' size.
    classes = jnp.arange(num_classes, dtype=jnp.uint8)
    return jax.lax.map(lambda class_id: jnp.sum(labels == class_id), classes)


def node_labels(
    labels: UInt8[jax.Array, "B H W"],
    height: int,
    width: int,
    align_corners: bool = True,
) -> UInt8[jax.Array, "B {height} {width}"]:
    """Returns the label of the pixel nearest to each CRF node.

    Args:
        labels: uint8[B, H, W].
        height, width: number of rows and columns of nodes.
        align_corners: whether the corner nodes lie at the centres of the corner pixels,
            as in PyTorch's bilinear resizing; see models.resize.

    Returns:
        uint8[B, height, width].
    """
    rows, columns = (
        np.floor(sample_positions(np.arange(n), n, size, align_corners) + 0.5)
        for n, size in zip((height, width), labels.shape[1:], strict=True)
    )
    return labels[:, rows.astype(int)][:, :, columns.astype(int)]
