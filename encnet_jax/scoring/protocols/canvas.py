"""Places images of any size on padded canvases, and maps logits back to pixels.

The sides of a canvas are multiples of a number of pixels, the bucket, so that few
programs are compiled for a data set of many image sizes. Logits are mapped to the
pixels of the original image by one matrix for the rows and one for the columns. The
matrices combine upsampling, cropping and resizing, and are inputs of the program. The
result has the size of the native canvas: the original image, padded to the bucket.
"""

import math
from typing import NamedTuple

import numpy as np
from PIL import Image

from encnet_jax.labels import IGNORE_LABEL
from encnet_jax.models.resize import interpolation_matrix
from encnet_jax.pictures import scaled_size


class Canvas(NamedTuple):
    """One image on a canvas, and the matrices that map its logits back.

    Attributes:
        image: [Hb, Wb, 3], the resized image, padded with black at the right and
            bottom.
        rows: f32[Ho, h], matrix from h rows of logits to Ho rows of the native canvas;
            zero for rows below the image.
        columns: f32[Wo, w], the same for columns.
        size: int32[2], height and width of the resized image in pixels.
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
    """Resizes an image and places it on a canvas.

    Unless the network ignores the black padding, the padding affects the encoding and
    the scores; the bucket is then part of the evaluation protocol.

    Args:
        image: [H, W, 3] of pixel values, uint8 or float32.
        scale: factor by which both sides are resized first.
        bucket: the sides of the canvas are multiples of this number of pixels.
        logits_stride: distance between neighbouring logits in pixels.
        align_corners: corner convention of the upsampling.
        as_alone: whether to upsample as if the image had no padding, for networks that
            ignore padding.
        room: (height, width) of the largest image, before resizing, that must fit on
            the canvas; None for the size of this image.
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
    """Returns the sizes of the canvases of an image.

    Args:
        height, width: size of the original image in pixels.
        scale: factor by which the image is resized.
        bucket: the sides of the canvases are multiples of this number of pixels.

    Returns:
        (height, width) of the canvas of the resized image; (height, width) of the
        native canvas, that of the original image.
    """
    scaled = scaled_size(height, width, scale)
    whole, native = (
        (round_up(size[0], bucket), round_up(size[1], bucket))
        for size in (scaled, (height, width))
    )
    return whole, native


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes an image with Pillow's bilinear filter, which antialiases.

    Args:
        image: uint8 or float32 [H, W, 3].
        height, width: size of the result in pixels.
    """
    channels = [image] if image.dtype == np.uint8 else np.moveaxis(image, -1, 0)
    resized = [
        np.asarray(
            Image.fromarray(channel).resize((width, height), Image.Resampling.BILINEAR)
        )
        for channel in channels
    ]
    return resized[0] if image.dtype == np.uint8 else np.stack(resized, axis=-1)


def _side_matrix(native, scaled, padded, rows, logits_stride, align_corners, *, of):
    """Returns the matrix f32[rows, logits] that maps logits to pixels along one axis.

    Args:
        native, scaled: sides of the image before and after resizing, in pixels.
        padded, rows: sides of its canvas and of its native canvas, in pixels.
        logits_stride, align_corners: see place.
        of: the side to which logits are upsampled: `padded`, or `scaled` for networks
            that ignore padding.
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
        size: side of the image in pixels.
        logits_stride: distance between neighbouring logits in pixels.
    """
    # Rounding can make the quotient slightly larger than an exact integer.
    return math.ceil(size / logits_stride - 1e-6)


def round_up(size: int, multiple: int) -> int:
    """Returns the smallest multiple of `multiple` that is at least `size`."""
    return -(-size // multiple) * multiple


def pad(array: np.ndarray, height: int, width: int, value: int) -> np.ndarray:
    """Pads an array [H, W, ...] to [height, width, ...] at the right and bottom."""
    widths = [(0, height - array.shape[0]), (0, width - array.shape[1])]
    widths += [(0, 0)] * (array.ndim - 2)
    return np.pad(array, widths, constant_values=value)


def lay_labels(
    members: list[dict], count: int, sides: tuple[int, int], key: str = "label"
) -> np.ndarray:
    """Places label maps at the top left of canvases.

    Args:
        members: examples, each a dict with a label map uint8[h, w].
        count: number of canvases, at least the number of examples; the other canvases
            have IGNORE_LABEL everywhere.
        sides: (H, W) of a canvas.
        key: key of the label map in the examples.

    Returns:
        uint8[count, H, W]; pixels outside of an image have IGNORE_LABEL.
    """
    labels = np.full((count, *sides), IGNORE_LABEL, np.uint8)
    for row, member in zip(labels, members, strict=False):
        label = member[key]
        row[: label.shape[0], : label.shape[1]] = label
    return labels
