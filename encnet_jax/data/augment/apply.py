"""Applies the augmentation that plan.py draws to an image and its mask.

Both readers ('tfds' and 'arrays') call `augment_example`: their batches are identical.
"""

from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageFilter

from encnet_jax.data.augment.plan import (
    AugmentParams,
    Geometry,
    colour_matrix,
    geometry,
)
from encnet_jax.labels import IGNORE_LABEL

cv2.setNumThreads(0)  # The readers already process several images in parallel.


def blur(image: np.ndarray, radius: float) -> np.ndarray:
    """Blurs uint8[H, W, 3] with a Gaussian whose sigma is `radius` pixels."""
    picture = Image.fromarray(image)
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(float(radius))))


def change_colours(image: np.ndarray, params: AugmentParams) -> np.ndarray:
    """Changes brightness, contrast, saturation and hue of uint8[H, W, 3]."""
    if not params.changes_colours:
        return image
    matrix = colour_matrix(params, image.mean(axis=(0, 1)))
    picture = Image.fromarray(image).convert("RGB", tuple(matrix.ravel()))
    return np.asarray(picture)


def augment_example(
    image: np.ndarray, label: np.ndarray, params: AugmentParams, data: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Augments an example.

    Args:
        image: uint8[H, W, 3].
        label: uint8[H, W], train ids.
        params: Augmentation parameters of the example.
        data: Fields crop_size, input_scale and augment of encnet_jax.config.defaults.

    Returns:
        Image uint8[crop, crop, 3], padded with black, and label uint8[crop, crop],
        padded with 255.
    """
    height, width = label.shape
    plan = geometry(params, height, width, data)
    image = change_colours(image, params)  # Before the crop: padding stays black.
    if data.augment.antialias and not params.angle:
        image = _resized_window(image, plan, params.flip, data.crop_size)
    else:
        if plan.resized != (height, width):
            image = _resized(image, plan.resized)
        image = warp(image, plan.image_matrix, data.crop_size, cv2.INTER_LINEAR, 0)
    label = warp(
        label, plan.label_matrix, data.crop_size, cv2.INTER_NEAREST, IGNORE_LABEL
    )
    return blur(image, params.blur) if params.blur else image, label


def warp(
    pixels: np.ndarray, matrix: np.ndarray, size: int, interpolation: int, fill: int
) -> np.ndarray:
    """Samples a crop uint8[size, size] or uint8[size, size, 3] from `pixels`.

    Args:
        pixels: uint8[H, W] or uint8[H, W, 3].
        matrix: f64[2, 3], crop position -> position in `pixels`; see Geometry.
        size: side of the crop, pixels.
        interpolation: cv2.INTER_LINEAR or cv2.INTER_NEAREST.
        fill: value outside the image; INTER_LINEAR blends border pixels with it.
    """
    # The first pixel's centre is (0, 0) in OpenCV but (0.5, 0.5) here.
    offset = matrix @ [0.5, 0.5, 1.0] - 0.5
    return cv2.warpAffine(
        pixels,
        np.column_stack([matrix[:, :2], offset]),
        (size, size),
        flags=interpolation | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(fill, fill, fill),
    )


def _resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns uint8[*size, 3], resized with antialiasing."""
    picture = Image.fromarray(image)
    return np.asarray(picture.resize(size[::-1], Image.Resampling.BILINEAR))


def _resized_window(
    image: np.ndarray, plan: Geometry, flip: float, size: int
) -> np.ndarray:
    """Returns the crop uint8[size, size, 3] of the mirrored and resized image.

    Only the crop is resized: the whole resized image may have ten times its pixels.
    """
    image = image[:, ::-1] if flip else image
    (height, width), (top, left) = plan.resized, plan.corner
    rows, columns = min(size, height - top), min(size, width - left)
    y, x = image.shape[0] / height, image.shape[1] / width
    window = Image.fromarray(image).resize(
        (columns, rows),
        Image.Resampling.BILINEAR,
        box=(left * x, top * y, (left + columns) * x, (top + rows) * y),
    )
    crop = np.zeros((size, size, 3), np.uint8)
    crop[:rows, :columns] = np.asarray(window)
    return crop
