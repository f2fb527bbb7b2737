"""From pixels to what networks take: normalisation on the device."""

import jax
import jax.numpy as jnp

MEAN = (0.485, 0.456, 0.406)  # Of ImageNet, for red, green, blue in [0, 1].
STD = (0.229, 0.224, 0.225)
CIFAR_MEAN = (0.4914, 0.4822, 0.4465)  # Of the 50,000 training images.
CIFAR_STD = (0.2470, 0.2435, 0.2616)


def normalise(
    images: jax.Array,
    mean: tuple[float, float, float] = MEAN,
    std: tuple[float, float, float] = STD,
) -> jax.Array:
    """Maps uint8 [..., 3] in 0..255 to f32 of about zero mean and unit variance.

    Pixels travel to the device as uint8, a quarter of the bytes.

    Args:
        images: red, green, blue.
        mean, std: of each channel in [0, 1].
    """
    scaled = images.astype(jnp.float32) / 255.0
    return (scaled - jnp.asarray(mean, jnp.float32)) / jnp.asarray(std, jnp.float32)
