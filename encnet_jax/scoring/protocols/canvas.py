"""Places images of any size on padded canvases, and maps logits back to their pixels.

The sides of a canvas are multiples of a bucket, so that a data set of many sizes
compiles few programs. Scores are mapped back by one matrix for the rows and one for the
columns. The matrices combine upsampling, cropping and resizing, and are inputs of the
program.
"""

import math
from typing import NamedTuple

import numpy as np
from PIL import Image

from encnet_jax.labels import IGNORE_LABEL
from encnet_jax.models.resize import interpolation_matrix
from encnet_jax.pictures import scaled_size


class Canvas(NamedTuple):
    """One image on a canvas.

    Attributes:
        image: [Hb, Wb, 3], black to the right and below.
        rows: matrix f32[Ho, h] from rows of logits to rows of the native image; zero
            below the image.
        columns: matrix f32[Wo, w], the same for columns.
        size: int32[2], height and width of the image on the canvas.
    """

    image: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    size: np.ndarray


def place(
    image: np.ndarray,
    *,
    scale: float,
    bucket: int,
    logits_stride: float,
    align_corners: bool = True,
    as_alone: bool = False,
    room: tuple[int, int] | None = None,
) -> Canvas:
    """Scales an image and places it on a canvas.

    If the network does not ignore the black border, it affects the encoding and the
    scores, so the bucket is part of the evaluation protocol.

    Args:
        image: [H, W, 3] of pixel values, uint8 or float32.
        scale: factor of both sides, applied first.
        bucket: the canvas's sides are multiples of this, in pixels.
        logits_stride: image pixels between neighbouring logits.
        align_corners: corner convention of the upsampling.
        as_alone: upsample as if the image had no padding, for networks that ignore
            padding.
        room: height and width of the largest image that the canvas must hold; None for
            this image's.
    """
    height, width = image.shape[:2]
    scaled = scaled_size(height, width, scale)
    if scale != 1:
        image = resize(image, *scaled)
    tall, wide = room or (height, width)
    whole, native = sizes(tall, wide, scale, bucket)
    rows, columns = (
        _side_matrix(
            (height, width)[side],
            scaled[side],
            whole[side],
            native[side],
            logits_stride,
            align_corners,
            of=(scaled if as_alone else whole)[side],
        )
        for side in (0, 1)
    )
    image = pad(image, *whole, 0)
    return Canvas(image, rows, columns, np.array(scaled, np.int32))


def sizes(
    height: int, width: int, scale: float, bucket: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Returns (height, width) of an image's canvas and of its native canvas."""
    scaled = scaled_size(height, width, scale)
    whole, native = (
        (round_up(size[0], bucket), round_up(size[1], bucket))
        for size in (scaled, (height, width))
    )
    return whole, native


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes uint8 or float32 [H, W, 3] by Pillow's antialiasing bilinear filter."""
    channels = [image] if image.dtype == np.uint8 else np.moveaxis(image, -1, 0)
    resized = [
        np.asarray(
            Image.fromarray(channel).resize((width, height), Image.Resampling.BILINEAR)
        )
        for channel in channels
    ]
    return resized[0] if image.dtype == np.uint8 else np.stack(resized, axis=-1)


def _side_matrix(native, scaled, padded, rows, logits_stride, align_corners, *, of):
    """Returns f32[rows, logits], which upsamples, crops and resizes along one side.

    `of`, which is `padded` or `scaled`, is the length to which logits are upsampled.
    """
    logits = logits_side(of, logits_stride)
    matrix = interpolation_matrix(of, logits, align_corners)[:scaled]
    missing = logits_side(padded, logits_stride) - logits
    matrix = np.pad(matrix, ((0, 0), (0, missing)))
    if scaled != native:
        matrix = interpolation_matrix(native, scaled, align_corners) @ matrix
    return np.pad(matrix, ((0, rows - native), (0, 0)))


def logits_side(size: int, logits_stride: float) -> int:
    """Returns the number of logits along a side of an image.

    Args:
        size: pixels.
        logits_stride: see models.logits_stride.
    """
    # Rounding can make a quotient slightly larger than the integer it should be.
    return math.ceil(size / logits_stride - 1e-6)


def round_up(size: int, multiple: int) -> int:
    """Returns the smallest multiple that is at least size."""
    return -(-size // multiple) * multiple


def pad(array: np.ndarray, height: int, width: int, value: int) -> np.ndarray:
    """Extends [H, W, ...] to the right and below with a value."""
    widths = [(0, height - array.shape[0]), (0, width - array.shape[1])]
    widths += [(0, 0)] * (array.ndim - 2)
    return np.pad(array, widths, constant_values=value)


def lay_labels(
    members: list[dict], count: int, sides: tuple[int, int], key: str = "label"
) -> np.ndarray:
    """Places the members' labels at the top left of canvases.

    Args:
        members: examples with a map uint8[H, W] under `key`.
        count: number of canvases; those without a member have IGNORE_LABEL everywhere.
        sides: (H, W) of a canvas.
        key: name of the map in the examples.

    Returns:
        uint8[count, H, W]; pixels outside of an image have IGNORE_LABEL.
    """
    labels = np.full((count, *sides), IGNORE_LABEL, np.uint8)
    for row, member in zip(labels, members, strict=False):
        label = member[key]
        row[: label.shape[0], : label.shape[1]] = label
    return labels
