"""Resamples label maps to other resolutions, and counts their classes."""

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
    """Keeps the label at the top left of each cell of the logits' grid.

    Args:
        labels: uint8[B, H, W].
        logits: [B, h, w, C], one per cell; cells have sides of ceil(H / h) pixels.

    Returns:
        uint8[B, h, w]: labels[:, ::cell, ::cell].

    Raises:
        ValueError: the grid of logits does not match the size of the labels.

    Source: the loader of Wang et al., WACV 2018, which takes no majority vote.
    """
    cell = -(-labels.shape[1] // logits.shape[1])
    thinned = labels[:, ::cell, ::cell]
    if thinned.shape[1:] != logits.shape[1:3]:
        raise ValueError(
            f"labels of shape {labels.shape} have shape {thinned.shape} after thinning"
            f" by {cell}; expected the height and width of the logits, {logits.shape}"
        )
    return thinned


def class_presence(
    labels: UInt8[jax.Array, "B H W"], num_classes: int
) -> Float32[jax.Array, "B {num_classes}"]:
    """Returns f32[B, C] from labels uint8[B, H, W]: 1 if the image has the class.

    Source: section 3.1 of the paper ("unique" of the ground-truth mask).
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
    """Returns f32[]: the number of labelled pixels, or the sum of their class weights.

    Args:
        labels: uint8[B, H, W], ids 0..C-1 and IGNORE_LABEL.
        class_weights: C factors, or () for 1 each.
    """
    if not class_weights:
        return jnp.sum(labels != IGNORE_LABEL).astype(jnp.float32)
    counts = class_counts(labels, len(class_weights)).astype(jnp.float32)
    return jnp.sum(counts * jnp.asarray(class_weights, jnp.float32))


def class_counts(
    labels: UInt8[jax.Array, "B H W"], num_classes: int
) -> Int32[jax.Array, " {num_classes}"]:
    """Returns int32[C], the number of pixels of each class in uint8[B, H, W] labels."""
    # One class after the other: all at once would need an array of the logits' size.
    classes = jnp.arange(num_classes, dtype=jnp.uint8)
    return jax.lax.map(lambda class_id: jnp.sum(labels == class_id), classes)


def node_labels(
    labels: UInt8[jax.Array, "B H W"],
    height: int,
    width: int,
    align_corners: bool = True,
) -> UInt8[jax.Array, "B {height} {width}"]:
    """Returns uint8[B, height, width]: the label of the pixel nearest to each node.

    Args:
        labels: uint8[B, H, W].
        height, width: size of the map of nodes.
        align_corners: corner convention of the nodes' positions; see models.resize.
    """
    rows, columns = (
        np.floor(sample_positions(np.arange(n), n, size, align_corners) + 0.5)
        for n, size in zip((height, width), labels.shape[1:], strict=True)
    )
    return labels[:, rows.astype(int)][:, :, columns.astype(int)]
