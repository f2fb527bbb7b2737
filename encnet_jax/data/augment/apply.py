"""Augments images and label masks with parameters that plan.py samples.

The pipelines with and without TensorFlow both call `augment_example`, and therefore
make the same batches.
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
    """Blurs an image uint8[H, W, 3] with a Gaussian whose sigma is `radius` pixels."""
    picture = Image.fromarray(image)
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(float(radius))))


def change_colours(image: np.ndarray, params: AugmentParams) -> np.ndarray:
    """Changes brightness, contrast, saturation and hue of an image uint8[H, W, 3]."""
    if not params.changes_colours:
        return image
    matrix = colour_matrix(params, image.mean(axis=(0, 1)))
    picture = Image.fromarray(image).convert("RGB", tuple(matrix.ravel()))
    return np.asarray(picture)


def augment_example(
    image: np.ndarray, label: np.ndarray, params: AugmentParams, data: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Augments an image and its label mask, and crops both.

    Args:
        image: uint8[H, W, 3].
        label: uint8[H, W], class indices; 255 means ignored.
        params: Augmentation parameters of the example.
        data: section `data` of the configuration; only the fields crop_size,
            input_scale and augment are used.

    Returns:
        A tuple of two arrays, where S is data.crop_size:
        image: uint8[S, S, 3]; padding is black.
        label: uint8[S, S]; padding is 255.
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
    """Crops `size` x `size` pixels from an affinely transformed image or mask.

    Args:
        pixels: uint8[H, W] or uint8[H, W, 3].
        matrix: f64[2, 3], maps a position (x, y, 1) in the crop to a position (x, y) in
            `pixels`. The centre of the first pixel is (0.5, 0.5).
        size: height and width of the crop, pixels.
        interpolation: cv2.INTER_LINEAR or cv2.INTER_NEAREST.
        fill: value of positions outside `pixels`. With INTER_LINEAR, the pixels at the
            border are blended with this value.
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
    """Resizes an image to `size` (height, width) bilinearly, with antialiasing."""
    picture = Image.fromarray(image)
    return np.asarray(picture.resize(size[::-1], Image.Resampling.BILINEAR))


def _resized_window(
    image: np.ndarray, plan: Geometry, flip: float, size: int
) -> np.ndarray:
    """Mirrors an image if `flip` is 1, resizes it, and returns a crop.

    The crop is uint8[size, size, 3]. Only the cropped region is resized: the whole
    resized image could have ten times as many pixels as the crop.
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
