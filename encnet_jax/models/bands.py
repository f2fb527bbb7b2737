"""Splits images into bands of rows, which a TPU processes like separate images.

A TPU processes eight images at a time. With fewer images, its registers are partly
empty.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

SUBLANES = 8  # Number of images that a TPU processes together in its registers.


class Taps(NamedTuple):
    """Stride, dilation and padding of a sliding window, equal for rows and columns.

    Attributes:
        stride: distance between neighbouring window positions, in pixels.
        dilation: distance between neighbouring pixels of a window.
        padding: number of rows or columns added at every edge of the image.
    """

    stride: int = 1
    dilation: int = 1
    padding: int = 0


def in_bands(
    x: jax.Array, size: int, taps: Taps, operate: Callable, outside: float = 0.0
) -> jax.Array:
    """Applies a sliding-window operation to images, in overlapping bands of rows.

    The bands are processed like separate images, so that a small batch fills a TPU's
    registers.

    Args:
        x: [B, H, W, C], where B is at most 4.
        size: height and width of the window, without dilation.
        taps: stride, dilation and padding of the window.
        operate: maps N bands [N, h, W, C] to the results [N, h', W', C']. `operate`
            must pad the columns, but not the rows: this function pads the rows.
        outside: value of the rows that this function adds as padding.

    Returns:
        [B, H', W', C'], the same as the result of the operation on whole images.
    """
    images, height = x.shape[:2]
    bands, reach = SUBLANES // images, taps.dilation * (size - 1)
    out_height = (height + 2 * taps.padding - reach - 1) // taps.stride + 1
    rows = -(-out_height // bands)  # Output rows per band.
    step = rows * taps.stride
    span = (rows - 1) * taps.stride + reach + 1
    below = (bands - 1) * step + span - height - taps.padding
    pads = ((0, 0), (taps.padding, max(0, below)), (0, 0), (0, 0))
    x = jnp.pad(x, pads, constant_values=outside)
    x = jnp.stack([x[:, i * step : i * step + span] for i in range(bands)], axis=1)
    y = operate(x.reshape(images * bands, *x.shape[2:]))
    return y.reshape(images, bands * rows, *y.shape[2:])[:, :out_height]
