"""Normalises pixels on the device. Importing this module does not load JAX."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import jax

MEAN = (0.485, 0.456, 0.406)  # ImageNet's mean of red, green, blue in [0, 1].
STD = (0.229, 0.224, 0.225)
PIXEL_MEAN = (122.675, 116.669, 104.008)  # In 0..255; from the DUC authors' code.
CIFAR_MEAN = (0.4914, 0.4822, 0.4465)  # Mean of CIFAR-10's 50,000 training images.


@dataclasses.dataclass(frozen=True)
class Normaliser:
    """Normalises each channel of an image: (pixels / divisor - mean) / std.

    Normalise on the device, because uint8 pixels are four times smaller to transfer
    than float32. Do not fold the normalisation into the first convolution, which pads
    the normalised image with zeros.

    Attributes:
        mean, std: mean and standard deviation of red, green and blue, after the
            division by `divisor`.
        divisor: 255 if mean and std refer to pixels in [0, 1]; 1 if they refer to
            pixels in 0..255.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    divisor: float = 255.0

    def __call__(self, images: jax.Array) -> jax.Array:
        """Normalises RGB pixels, uint8[..., 3] in 0..255; returns f32[..., 3]."""
        scaled = images.astype(np.float32) / self.divisor
        return (scaled - _of_channels(self.mean, scaled)) / _of_channels(
            self.std, scaled
        )


def _of_channels(values: tuple[float, ...], images: jax.Array) -> np.ndarray:
    """Returns three values as f32[1, ..., 1, 3], to be broadcast against `images`."""
    return np.asarray(values, np.float32).reshape((1,) * (images.ndim - 1) + (-1,))


normalise = Normaliser(MEAN, STD)
# 'mean' only subtracts the mean, as does the code released with "Understanding
# Convolution for Semantic Segmentation".
PIXELS = {"unit": normalise, "mean": Normaliser(PIXEL_MEAN, (1.0, 1.0, 1.0), 1.0)}
