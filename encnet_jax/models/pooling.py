"""Max pooling of ResNet stems, with the fastest implementation for each platform."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from encnet_jax.models.bands import Taps, in_bands
from encnet_jax.models.by_platform import by_platform

_SIZE, _STRIDE = 3, 2


def max_pool(x: jax.Array, border: int) -> jax.Array:
    """Applies 3x3 max pooling with stride 2.

    On a TPU, a single image is split into bands of rows; see bands.py. On a CPU, the
    maximum is computed along rows and then along columns.

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
    # The gradient on a CPU takes half the time of that of reduce_window.
    forms: dict[str, Callable] = {
        "cpu": partial(_by_axis, border=border),
        "default": pool,
    }
    # Bands reduce the time of a single image on a TPU to two thirds.
    if isinstance(images, int) and images == 1:  # Symbolic in an exported program.
        forms["tpu"] = banded
    return by_platform(forms, x)


def _by_axis(x: jax.Array, border: int) -> jax.Array:
    """Returns the maxima of columns, of rows of 3 pixels; for arguments see max_pool.

    If pixels of a window are equal, the gradient belongs to the first of them in
    reading order, as with reduce_window. NaN is the maximum of every window it is in.
    """
    for axis in (2, 1):
        pads = [(border, border) if i == axis else (0, 0) for i in range(x.ndim)]
        x = jnp.pad(x, pads, constant_values=-jnp.inf)
        size = (x.shape[axis] - _SIZE) // _STRIDE + 1
        first, *others = (
            jax.lax.slice_in_dim(x, i, i + _STRIDE * (size - 1) + 1, _STRIDE, axis)
            for i in range(_SIZE)
        )
        for other in others:
            first = jnp.where((first >= other) | jnp.isnan(first), first, other)
        x = first
    return x
