"""Max pooling of ResNet stems, with the fastest implementation for each platform."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from encnet_jax.models.bands import Taps, in_bands
from encnet_jax.models.by_platform import by_platform

_SIZE, _STRIDE = 3, 2


def max_pool(x: jax.Array, border: int) -> jax.Array:
    """Applies 3x3 max pooling with stride 2.

    On a TPU, a single image is split into bands of rows; see bands.py.

    Args:
        x: [B, H, W, C], any float dtype.
        border: padding at every edge in pixels, 0 or 1; padding is never the maximum.

    Returns:
        [B, H', W', C] of x's dtype, where H' is (H + 2 * border - 3) // 2 + 1.
    """

    def pool(x, rows=border):
        pads = ((rows, rows), (border, border))
        return nn.max_pool(x, (_SIZE, _SIZE), (_STRIDE, _STRIDE), pads)

    def banded(x):
        taps = Taps(_STRIDE, padding=border)
        return in_bands(x, _SIZE, taps, lambda x: pool(x, rows=0), outside=-jnp.inf)

    images = x.shape[0]
    # Bands reduce the time of a single image on a TPU to two thirds.
    if isinstance(images, int) and images == 1:  # Symbolic in an exported program.
        return by_platform({"tpu": banded, "default": pool}, x)
    return pool(x)
