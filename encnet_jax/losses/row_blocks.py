"""Pixel losses on upsampled logits, of which a block of rows exists at a time."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from encnet_jax.labels import IGNORE_LABEL
from encnet_jax.models.resize import interpolation_matrix


def over_pixels(
    pixel_fn: Callable,
    logits: jax.Array,
    labels: jax.Array,
    *,
    align_corners: bool,
    row_blocks: int,
    with_gradient: bool = False,
):
    """Sums a function of every pixel's logits, upsampled to the labels' size.

    Where the sizes are equal nothing is upsampled. Otherwise 1 / row_blocks of the
    full-resolution logits exist at a time, and their gradient is brought down to the
    logits' resolution block by block.

    Args:
        pixel_fn: (x f32[B, R, W, C], labels uint8[B, R, W]) -> (tree of sums over the
            pixels, gradient of what is minimised with respect to x or None, tree of
            arrays [B, R, W] to keep); a pixel of IGNORE_LABEL must add nothing.
        logits: f32[B, h, w, C].
        labels: uint8[B, H, W].
        align_corners: corner convention of the bilinear upsampling.
        row_blocks: number of blocks; need not divide H.
        with_gradient: whether the gradient is wanted.

    Returns:
        (sums, gradient f32[B, h, w, C] or f32[] zero, kept arrays [B, H, W]).
    """
    zero = jnp.zeros((), jnp.float32)
    if logits.shape[1:3] == labels.shape[1:]:
        sums, gradient, kept = pixel_fn(logits, labels)
        return sums, gradient if with_gradient else zero, kept
    batch, height, width = labels.shape
    block = -(-height // row_blocks)
    pad = block * row_blocks - height
    # Rows added to fill the last block are ignored pixels of any value.
    rows = interpolation_matrix(height, logits.shape[1], align_corners)
    rows = jnp.pad(rows, ((0, pad), (0, 0))).reshape(row_blocks, block, -1)
    columns = jnp.asarray(interpolation_matrix(width, logits.shape[2], align_corners))
    labels = jnp.pad(labels, ((0, 0), (0, pad), (0, 0)), constant_values=IGNORE_LABEL)
    labels = labels.reshape(batch, row_blocks, block, width).swapaxes(0, 1)
    product = partial(jnp.einsum, precision="high")

    def add_block(carry, inputs):
        total, gradient = carry
        block_rows, block_labels = inputs
        x = product("rh,bhwc->brwc", block_rows, logits)
        x = product("Ww,brwc->brWc", columns, x)
        sums, d, kept = pixel_fn(x, block_labels)
        total = jax.tree.map(jnp.add, total, sums)
        if with_gradient:
            d = product("Ww,brWc->brwc", columns, d)
            gradient += product("rh,brwc->bhwc", block_rows, d)
        return (total, gradient), kept

    full = jax.ShapeDtypeStruct((batch, block, width, logits.shape[-1]), logits.dtype)
    sums, _, _ = jax.eval_shape(pixel_fn, full, labels[0])
    start = (
        jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), sums),
        jnp.zeros_like(logits) if with_gradient else zero,
    )
    (sums, gradient), kept = jax.lax.scan(add_block, start, (rows, labels))

    def whole(blocks):
        return blocks.swapaxes(0, 1).reshape(batch, -1, width)[:, :height]

    return sums, gradient, jax.tree.map(whole, kept)
