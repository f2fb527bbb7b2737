"""Normalisation of pixels on the device."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

MEAN = (0.485, 0.456, 0.406)  # ImageNet's mean of red, green, blue in [0, 1].
STD = (0.229, 0.224, 0.225)
PIXEL_MEAN = (122.675, 116.669, 104.008)  # In 0..255; from the DUC authors' code.
CIFAR_MEAN = (0.4914, 0.4822, 0.4465)  # Mean of CIFAR-10's 50,000 training images.


def normalise(
    images: jax.Array,
    mean: tuple[float, ...] = MEAN,
    std: tuple[float, ...] = STD,
) -> jax.Array:
    """Maps uint8 [..., 3] in 0..255 to f32 of about zero mean and unit variance.

    This runs on the device, so that pixels are transferred as uint8, a quarter of the
    bytes.

    Args:
        images: red, green, blue.
        mean, std: mean and standard deviation of each channel in [0, 1].
    """
    scaled = images.astype(jnp.float32) / 255.0
    return (scaled - _of_channels(mean, scaled)) / _of_channels(std, scaled)


def less_mean(images: jax.Array) -> jax.Array:
    """Maps uint8 [..., 3] in 0..255 to f32 minus PIXEL_MEAN; values are not scaled.

    Source: the code released with "Understanding Convolution for Semantic
    Segmentation". The mean cannot be folded into the first convolution, whose
    padding is 0 after the subtraction.

    Args:
        images: red, green, blue.
    """
    pixels = images.astype(jnp.float32)
    return pixels - _of_channels(PIXEL_MEAN, pixels)


def _of_channels(values: tuple[float, ...], images: jax.Array) -> jax.Array:
    """Returns f32[1, ..., 1, 3] with the same number of axes as the images."""
    return jnp.asarray(values, jnp.float32).reshape((1,) * (images.ndim - 1) + (-1,))


PIXELS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "unit": normalise,
    "mean": less_mean,
}
