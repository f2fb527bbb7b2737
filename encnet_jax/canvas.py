"""Images of any size on padded canvases, and logits back to each image's own pixels.

The sides of a canvas are multiples of a bucket, so that a data set of many sizes compiles
few programs. Scores come back by one matrix for the rows and one for the columns, which
hold upsampling, cropping and resizing together and are inputs of the program.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image

from encnet_jax.models.resize import interpolation_matrix


class Canvas(NamedTuple):
    """One image, ready for a batch of its kind.

    Attributes:
        image: uint8[Hb, Wb, 3], black to the right and below.
        rows: f32[Ho, h], from rows of logits to rows of the native image, zero below it.
        columns: f32[Wo, w], likewise.
    """

    image: np.ndarray
    rows: np.ndarray
    columns: np.ndarray


def place(
    image: np.ndarray,
    *,
    scale: float,
    bucket: int,
    output_stride: int,
    align_corners: bool = True,
) -> Canvas:
    """Scales an image and puts it on a canvas.

    The black border takes part in the encoding and changes the scores a little, so the
    bucket belongs to the evaluation protocol.

    Args:
        image: uint8[H, W, 3].
        scale: of both sides before anything else.
        bucket: pixels.
        output_stride: of the network.
        align_corners: corner convention of the upsampling.
    """
    height, width = image.shape[:2]
    scaled_height, scaled_width = round(height * scale), round(width * scale)
    if scale != 1:
        resized = Image.fromarray(image).resize(
            (scaled_width, scaled_height), Image.Resampling.BILINEAR
        )
        image = np.asarray(resized)
    image = pad(image, round_up(scaled_height, bucket), round_up(scaled_width, bucket), 0)
    sides = [
        _side_matrix(native, scaled, padded, output_stride, bucket, align_corners)
        for native, scaled, padded in (
            (height, scaled_height, image.shape[0]),
            (width, scaled_width, image.shape[1]),
        )
    ]
    return Canvas(image, *sides)


def _side_matrix(native, scaled, padded, output_stride, bucket, align_corners):
    """f32[round_up(native, bucket), logits]: upsample, crop, resize, along one side."""
    logits = -(-padded // output_stride)
    matrix = interpolation_matrix(padded, logits, align_corners)[:scaled]
    if scaled != native:
        matrix = interpolation_matrix(native, scaled, align_corners) @ matrix
    return np.pad(matrix, ((0, round_up(native, bucket) - native), (0, 0)))


def round_up(size: int, multiple: int) -> int:
    """Returns the smallest multiple that is not below size."""
    return -(-size // multiple) * multiple


def pad(array: np.ndarray, height: int, width: int, value: int) -> np.ndarray:
    """Extends [H, W, ...] to the right and below with a value."""
    widths = [(0, height - array.shape[0]), (0, width - array.shape[1])]
    widths += [(0, 0)] * (array.ndim - 2)
    return np.pad(array, widths, constant_values=value)
