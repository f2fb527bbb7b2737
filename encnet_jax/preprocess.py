"""From pixels to what networks take: normalisation on the device."""

import jax
import jax.numpy as jnp

MEAN = (0.485, 0.456, 0.406)  # Of ImageNet, for red, green, blue in [0, 1].
STD = (0.229, 0.224, 0.225)


def normalise(images: jax.Array) -> jax.Array:
    """Maps uint8 [..., 3] in 0..255 to f32 [..., 3] of about zero mean and unit variance.

    Pixels travel to the device as uint8, a quarter of the bytes.
    """
    scaled = images.astype(jnp.float32) / 255.0
    return (scaled - jnp.asarray(MEAN, jnp.float32)) / jnp.asarray(STD, jnp.float32)
