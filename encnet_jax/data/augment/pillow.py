"""Augmentation with Pillow: an image and its mask together, as augment.py plans it."""

from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from encnet_jax.data.augment.plan import AugmentParams, colour_matrix, geometry
from encnet_jax.labels import IGNORE_LABEL


def blur(image: np.ndarray, radius: float) -> np.ndarray:
    """Returns uint8[H, W, 3] smoothed by a Gaussian of radius pixels (its sigma)."""
    picture = Image.fromarray(image)
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(float(radius))))


def change_colours(image: np.ndarray, params: AugmentParams) -> np.ndarray:
    """Returns u8[H, W, 3] with the brightness, contrast and so on of `params`."""
    if not params.changes_colours:
        return image
    matrix = colour_matrix(params, image.mean(axis=(0, 1)))
    picture = Image.fromarray(image).convert("RGB", tuple(matrix.ravel()))
    return np.asarray(picture)


def augment_example(
    image: np.ndarray, label: np.ndarray, params: AugmentParams, data: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Augments an example.

    Within one level of 255 of the TensorFlow version, except along the image's border,
    where that one fades into the padding and this one ends sharply.

    Args:
        image: uint8[H, W, 3].
        label: uint8[H, W], train ids.
        params: Random numbers of the example.
        data: Fields crop_size, input_scale and augment of encnet_jax.config.defaults.

    Returns:
        uint8[crop, crop, 3] and uint8[crop, crop], padded with black and 255.
    """
    height, width = label.shape
    plan = geometry(params, height, width, data)
    # Before the crop, so that padding stays black.
    picture = Image.fromarray(change_colours(image, params))
    if plan.resized != (height, width):
        picture = picture.resize(plan.resized[::-1], Image.Resampling.BILINEAR)
    size, affine = (data.crop_size, data.crop_size), Image.Transform.AFFINE
    picture = picture.transform(
        size, affine, plan.image_matrix.ravel(), Image.Resampling.BILINEAR, fillcolor=0
    )
    mask = Image.fromarray(label).transform(
        size,
        affine,
        plan.label_matrix.ravel(),
        Image.Resampling.NEAREST,
        fillcolor=IGNORE_LABEL,
    )
    image = np.asarray(picture)
    return blur(image, params.blur) if params.blur else image, np.asarray(mask)
