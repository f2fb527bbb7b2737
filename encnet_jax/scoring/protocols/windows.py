"""The windows of the released code's evaluation, and the positions of their pixels.

All windows are squares of the same size, so the network is compiled once for a data
set. A window is described by taps, a few numbers for each pixel of a side, from which
the device builds two kinds of matrices: those that cut the window out of the native
image, and those that add the window's scores to the native image.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from encnet_jax.models.resize import neighbours, sample_positions


class Window(NamedTuple):
    """One window of one scaled image.

    Taps are f32[n, 3]: for sample i the index of its lower neighbour in the source,
    which may be outside, the weight of that neighbour, and the weight of the next one.

    Attributes:
        cut_rows, cut_columns: taps[crop] from the image to the window; weights are zero
            outside the image, so that pixels there are black.
        paste_rows, paste_columns: taps[side of the canvas] from the window to the
            canvas; the weights include the division by the number of windows that cover
            a pixel.
    """

    cut_rows: np.ndarray
    cut_columns: np.ndarray
    paste_rows: np.ndarray
    paste_columns: np.ndarray


def tap_matrix(taps: jax.Array, size: int) -> jax.Array:
    """Converts taps f32[n, 3] to the matrix f32[n, size] that samples `size` values."""
    position = jnp.arange(size, dtype=jnp.float32)[None]
    low, weight, next_weight = jnp.split(taps, 3, axis=1)
    at_low, at_next = ((position == x).astype(weight.dtype) for x in (low, low + 1))
    return weight * at_low + next_weight * at_next


def scaled_size(
    height: int, width: int, scale: float, base_size: int
) -> tuple[int, int]:
    """Returns (height, width) whose long side is base_size * scale, rounded up."""
    long_side = math.ceil(base_size * scale)
    if height > width:
        return long_side, int(width * long_side / height + 0.5)
    return int(height * long_side / width + 0.5), long_side


def starts(side: int, crop_size: int) -> range:
    """Returns the starts of windows along a scaled side; the last may exceed it."""
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
    """Returns the number of windows of an image, over all scales."""
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
    """Plans all windows of an image.

    Args:
        height, width: size of the native image.
        canvas: (height, width) of the native canvas, at least the image's.
        scales: lengths of the long side, relative to base_size.
        base_size: length of the long side at scale 1, in pixels.
        crop_size: side of a window, in pixels.
        align_corners: corner convention of every resizing.

    Source: MultiEvalModule of the released code. Windows at the right and lower border
    are cut there and padded with black, not shifted inward; a short side that is
    smaller than the window is padded first, with the same result.
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
    """Returns the interpolation taps along one axis of a window.

    The first taps, f32[crop_size, 3], cut the window out of the image. The second,
    f32[room, 3], paste its scores into a canvas of `room` pixels.
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
    """Returns f64[n, 3]: lower sample, its weight, and that of the next sample."""
    position = sample_positions(index, target, source, align_corners)
    low, high, share = neighbours(position, source)
    share = np.where(low == high, 0.0, share)
    return np.stack([low, 1 - share, share], axis=1)
