"""Computes which input pixels affect an output pixel of dilated convolutions.

The receptive field of several dilated convolutions can have holes: input pixels that do
not affect the output pixel.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Gridding(NamedTuple):
    """Statistics of the receptive field of a stack of dilated 3x3 convolutions.

    The receptive field is a square of feature map pixels. A row or pixel of the square
    is "seen" if the row or pixel affects the output pixel.

    Attributes:
        receptive_field: height and width of the square in pixels.
        seen_along_axis: number of rows that are seen.
        share_along_axis: fraction of the rows that are seen.
        share: fraction of the pixels that are seen.
        widest_step: largest distance between neighbouring seen rows; 1 means no holes.
        max_distances: result of the function `max_distances`.
        unevenness: largest ratio between `paths` of neighbouring rows in the middle
            half of the square; infinite if a row in this half is not seen.
        centre_seen: whether all 3x3 pixels around the centre are seen.
        paths: f64[receptive_field], result of the function `path_counts`.
    """

    receptive_field: int
    seen_along_axis: int
    share_along_axis: float
    share: float
    widest_step: int
    max_distances: tuple[int, ...]
    unevenness: float
    centre_seen: bool
    paths: np.ndarray


def path_counts(rates: Sequence[int]) -> np.ndarray:
    """Counts the paths from each input row to one output row.

    A path passes through one of the 3 kernel rows of every convolution. If all weights
    are 1, the counts are the gradient of the output with respect to the input, along
    one axis. In two dimensions, the gradient is the product of two counts: one for the
    row of the pixel, and one for its column.

    Args:
        rates: dilation rates of the convolutions, in any order.

    Returns:
        f64[1 + 2 * sum(rates)], the number of paths from each input row. The middle
        element is the input row at the position of the output row.
    """
    counts = np.ones(1)
    for rate in rates:
        spread = np.zeros(len(counts) + 2 * rate)
        for shift in (0, rate, 2 * rate):
            spread[shift : shift + len(counts)] += counts
        counts = spread
    return counts


def max_distances(rates: Sequence[int]) -> tuple[int, ...]:
    """Returns M_1 .. M_n, the "maximum distances" of Wang et al. for n dilation rates.

    The distances are defined in WACV 2018, equation 2, for the rates r_1 .. r_n:

        M_n = r_n;  M_i = max(M_{i+1} - 2 r_i, 2 r_i - M_{i+1}, r_i)

    To avoid holes in the receptive field of 3x3 kernels, the authors require M_2 <= 3.
    This is not sufficient: the rates 2, 2, 2 have M_2 = 2 and leave holes.

    Args:
        rates: r_1 .. r_n; r_1 is the rate of the layer nearest to the input.
    """
    found = [rates[-1]]
    for rate in reversed(rates[:-1]):
        found.insert(0, max(found[0] - 2 * rate, 2 * rate - found[0], rate))
    return tuple(found)


def describe(rates: Sequence[int]) -> Gridding:
    """Returns statistics of the receptive field of dilated 3x3 convolutions.

    Args:
        rates: dilation rates, from the input to the output.
    """
    paths = path_counts(rates)
    size, seen = len(paths), np.flatnonzero(paths)
    middle = paths[size // 4 : size - size // 4]
    if np.all(middle > 0):
        ratios = middle[1:] / middle[:-1]
        unevenness = float(np.max(np.maximum(ratios, 1 / ratios)))
    else:
        unevenness = float("inf")
    share = len(seen) / size
    return Gridding(
        receptive_field=size,
        seen_along_axis=len(seen),
        share_along_axis=share,
        share=share**2,
        widest_step=int(np.max(np.diff(seen))),
        max_distances=max_distances(rates),
        unevenness=unevenness,
        centre_seen=bool(np.all(paths[size // 2 - 1 : size // 2 + 2] > 0)),
        paths=paths,
    )
