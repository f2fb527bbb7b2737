"""Computes the sliding windows of the released code's evaluation.

All windows are squares of the same size, so that the network is compiled only once for
a data set. A window consists of weights for linear interpolation. One pair of arrays
scales the image and crops the window; the other pair resizes the window's scores to the
original image.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from encnet_jax.models.resize import neighbours, sample_positions


class Window(NamedTuple):
    """One window of an image at one scale.

    Each field f32[n, 3] describes the linear interpolation of n output samples. Row i
    contains the index of an input sample, the weight of this sample, and the weight of
    the next input sample. A sample outside the input has weight 0.

    Attributes:
        cut_rows, cut_columns: f32[crop, 3], interpolation from the original image to
            the window. The weights of pixels outside the image are 0: these pixels are
            black.
        paste_rows, paste_columns: f32[H, 3] and f32[W, 3], interpolation from the
            window to the original image with padding. The weights are divided by the
            number of windows that cover a pixel.
    """

    cut_rows: np.ndarray
    cut_columns: np.ndarray
    paste_rows: np.ndarray
    paste_columns: np.ndarray


def tap_matrix(taps: jax.Array, size: int) -> jax.Array:
    """Returns the matrix of a linear interpolation from input to output samples.

    Args:
        taps: f32[n, 3], indices and weights of the interpolation; see Window.
        size: number of input samples.

    Returns:
        f32[n, size].
    """
    position = jnp.arange(size, dtype=jnp.float32)[None]
    low, weight, next_weight = jnp.split(taps, 3, axis=1)
    at_low, at_next = ((position == x).astype(weight.dtype) for x in (low, low + 1))
    return weight * at_low + next_weight * at_next


def scaled_size(
    height: int, width: int, scale: float, base_size: int
) -> tuple[int, int]:
    """Returns (height, width) of an image after resizing to a given long side.

    Args:
        height, width: size of the original image in pixels.
        scale, base_size: their product, rounded up, is the resized long side in pixels.
    """
    long_side = math.ceil(base_size * scale)
    if height > width:
        return long_side, int(width * long_side / height + 0.5)
    return int(height * long_side / width + 0.5), long_side


def starts(side: int, crop_size: int) -> range:
    """Returns the index of the first pixel of each window along one axis.

    The last window can extend beyond the image.

    Args:
        side: height or width of the scaled image in pixels.
        crop_size: height and width of a window in pixels.
    """
    stride = crop_size * 2 // 3
    beyond = max(side - crop_size, 0)
    return range(0, (-(-beyond // stride) + 1) * stride, stride)


def num_windows(
    height: int,
    width: int,
    *,
    scales: tuple[float, ...],
    base_size: int,
    crop_size: int,
) -> int:
    """Returns the number of windows of an image, over all scales; see `plan`."""
    sizes = [scaled_size(height, width, scale, base_size) for scale in scales]
    return sum(len(starts(h, crop_size)) * len(starts(w, crop_size)) for h, w in sizes)


@functools.lru_cache(maxsize=32)
def plan(
    height: int,
    width: int,
    canvas: tuple[int, int],
    *,
    scales: tuple[float, ...],
    base_size: int,
    crop_size: int,
    align_corners: bool,
) -> tuple[Window, ...]:
    """Returns all windows of an image, over all scales.

    Args:
        height, width: size of the original image in pixels.
        canvas: (height, width) of the original image with padding.
        scales: length of the long side of each scaled image, relative to base_size.
        base_size: length of the long side at scale 1, in pixels.
        crop_size: height and width of a window in pixels.
        align_corners: whether resizing aligns the centres of the corner pixels.

    Source: MultiEvalModule of the released code. Windows that extend beyond the right
    or lower border are padded with black, not shifted inward. The released code first
    pads a short side that is smaller than the window; the result is the same.
    """
    found = []
    for scale in scales:
        scaled = scaled_size(height, width, scale, base_size)
        rows, columns = (
            [
                _side(native, size, start, room, crop_size, align_corners)
                for start in starts(size, crop_size)
            ]
            for native, size, room in zip((height, width), scaled, canvas, strict=True)
        )
        found += [
            Window(cut_rows, cut_columns, paste_rows, paste_columns)
            for cut_rows, paste_rows in rows
            for cut_columns, paste_columns in columns
        ]
    return tuple(found)


def _side(native, scaled, start, room, crop_size, align_corners):
    """Returns the interpolation of one window along one axis; see Window.

    Args:
        native, scaled: height or width of the original and of the scaled image.
        start: index of the window's first pixel in the scaled image.
        room: height or width of the original image with padding.
        crop_size, align_corners: see plan.

    Returns:
        f32[crop_size, 3], from the original image to the window; and f32[room, 3], from
        the window to the original image with padding.
    """
    index = np.arange(start, start + crop_size)
    cut = _taps(index, native, scaled, align_corners)
    cut[index >= scaled, 1:] = 0
    paste = _taps(np.arange(native), scaled, native, align_corners)
    covered = sum(
        (np.arange(scaled + 1) >= s) & (np.arange(scaled + 1) < s + crop_size)
        for s in starts(scaled, crop_size)
    )
    low = paste[:, 0].astype(int)
    for tap in (0, 1):
        inside = (low + tap >= start) & (low + tap < start + crop_size)
        paste[:, 1 + tap] *= inside / np.maximum(covered[low + tap], 1)
    paste[:, 0] -= start
    padding = [(0, room - native), (0, 0)]
    return cut.astype(np.float32), np.pad(paste, padding).astype(np.float32)


def _taps(index, source, target, align_corners):
    """Returns the indices and weights of a linear interpolation, f64[n, 3]; see Window.

    Args:
        index: int[n], indices of output samples.
        source, target: number of input and of output samples along the axis.
        align_corners: see plan.
    """
    position = sample_positions(index, target, source, align_corners)
    low, high, share = neighbours(position, source)
    share = np.where(low == high, 0.0, share)
    return np.stack([low, 1 - share, share], axis=1)
