"""Pads images of any size to a few sizes, and maps logits back to pixels.

A canvas is an image that is padded at the right and bottom, so that its height and
width are multiples of a number of pixels, the bucket. Few programs are then compiled
for a data set of many image sizes.

Each canvas has two matrices, one for rows and one for columns. The matrices upsample
the logits, remove the padding and resize the result to the original image size.
Compiled programs receive the matrices as inputs, so images of several sizes can use the
same program.
"""

import math
from typing import NamedTuple

import numpy as np
from PIL import Image

from encnet_jax.labels import IGNORE_LABEL
from encnet_jax.models.resize import interpolation_matrix
from encnet_jax.pictures import scaled_size


class Canvas(NamedTuple):
    """A padded image, and the matrices that map logits to pixels of the original image.

    Attributes:
        image: [Hb, Wb, 3], the resized image, padded with black at the right and
            bottom.
        rows: f32[Ho, h], matrix that maps h rows of logits to Ho rows of pixels: the
            rows of the original image, and then rows of padding, for which it is 0.
        columns: f32[Wo, w], the same for columns.
        size: int32[2], height and width of the resized image in pixels, without
            padding.
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
    """Resizes an image and pads the resized image with black.

    The padding affects the scores, unless the network ignores padding. Evaluation
    reports therefore state the bucket.

    Args:
        image: [H, W, 3] of pixel values, uint8 or float32.
        scale: factor by which height and width are resized, before the padding.
        bucket: the padded height and width are multiples of this number of pixels.
        logits_stride: distance between neighbouring logits in pixels.
        align_corners: whether upsampling aligns the centres of the corner pixels.
        as_alone: True for networks that ignore padding: logits are upsampled as if the
            image were not padded.
        room: (height, width) of the largest image, before resizing, for which the
            padded size is sufficient; None for the size of `image`.
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
    """Returns two padded sizes of an image: resized, and at the original size.

    Args:
        height, width: size of the original image in pixels.
        scale: factor by which the image is resized.
        bucket: padded heights and widths are multiples of this number of pixels.

    Returns:
        Two pairs (height, width): the padded size of the resized image, and the padded
        size of the original image.
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
    """Returns the matrix that maps logits to original pixels along one axis.

    All lengths are heights (for rows) or widths (for columns) in pixels.

    Args:
        native, rows: length of the original image, without and with padding.
        scaled, padded: length of the resized image, without and with padding.
        logits_stride, align_corners: see place.
        of: length to which logits are upsampled: `padded`, or `scaled` for networks
            that ignore padding.

    Returns:
        f32[rows, n] for n logits along the axis.
    """
    logits = logits_side(of, logits_stride)
    matrix = interpolation_matrix(of, logits, align_corners)[:scaled]
    missing = logits_side(padded, logits_stride) - logits
    matrix = np.pad(matrix, ((0, 0), (0, missing)))
    if scaled != native:
        matrix = interpolation_matrix(native, scaled, align_corners) @ matrix
    return np.pad(matrix, ((0, rows - native), (0, 0)))


def logits_side(size: int, logits_stride: float) -> int:
    """Returns the number of logits along the height or the width of an image.

    Args:
        size: height or width of the image in pixels.
        logits_stride: distance between neighbouring logits in pixels.
    """
    # Rounding can make the quotient slightly larger than an exact integer.
    return math.ceil(size / logits_stride - 1e-6)


def round_up(size: int, multiple: int) -> int:
    """Returns the smallest multiple of `multiple` that is at least `size`."""
    return -(-size // multiple) * multiple


def pad(array: np.ndarray, height: int, width: int, value: int) -> np.ndarray:
    """Pads an array [H, W, ...] with `value` at the bottom and right."""
    widths = [(0, height - array.shape[0]), (0, width - array.shape[1])]
    widths += [(0, 0)] * (array.ndim - 2)
    return np.pad(array, widths, constant_values=value)


def lay_labels(
    members: list[dict], count: int, sides: tuple[int, int], key: str = "label"
) -> np.ndarray:
    """Pads label maps at the right and bottom, and stacks the padded maps.

    Args:
        members: examples, each a dict with a label map uint8[h, w].
        count: number of maps in the result, at least the number of examples.
        sides: (H, W) of a padded map.
        key: key of the label map in each example.

    Returns:
        uint8[count, H, W]. The padding, and maps without an example, have IGNORE_LABEL.
    """
    labels = np.full((count, *sides), IGNORE_LABEL, np.uint8)
    for row, member in zip(labels, members, strict=False):
        label = member[key]
        row[: label.shape[0], : label.shape[1]] = label
    return labels
