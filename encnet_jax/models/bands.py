"""Cuts few images into bands of rows, so that a TPU can process eight side by side."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

SUBLANES = 8  # Number of images that a TPU processes side by side in its registers.


class Taps(NamedTuple):
    """Positions of a kernel, in pixels, equal for both axes.

    Attributes:
        stride: between positions of the output.
        dilation: between neighbouring taps.
        padding: of the image, on each side.
    """

    stride: int = 1
    dilation: int = 1
    padding: int = 0


def in_bands(
    x: jax.Array, size: int, taps: Taps, operate: Callable, outside: float = 0.0
) -> jax.Array:
    """Applies a sliding-window operation to bands of rows, including shared rows.

    Args:
        x: [B, H, W, C], B at most SUBLANES / 2.
        size: of the window, in taps.
        taps: its positions.
        operate: maps B * (SUBLANES // B) bands [..., h, W, C] to [..., h', W', C'], and
            pads only columns.
        outside: the value of padded rows.

    Returns:
        [B, H', W', C'].
    """
    images, height = x.shape[:2]
    bands, reach = SUBLANES // images, taps.dilation * (size - 1)
    out_height = (height + 2 * taps.padding - reach - 1) // taps.stride + 1
    rows = -(-out_height // bands)  # Number of rows of each band's output.
    step = rows * taps.stride
    span = (rows - 1) * taps.stride + reach + 1
    below = (bands - 1) * step + span - height - taps.padding
    pads = ((0, 0), (taps.padding, max(0, below)), (0, 0), (0, 0))
    x = jnp.pad(x, pads, constant_values=outside)
    x = jnp.stack([x[:, i * step : i * step + span] for i in range(bands)], axis=1)
    y = operate(x.reshape(images * bands, *x.shape[2:]))
    return y.reshape(images, bands * rows, *y.shape[2:])[:, :out_height]
