"""Sliding pyramid pooling: a map concatenated with its maxima over growing windows."""

import flax.linen as nn
import jax
import jax.numpy as jnp

WINDOWS = (5, 9)


def sliding_maxima(x: jax.Array, windows: tuple[int, ...] = WINDOWS) -> jax.Array:
    """Concatenates a map with its sliding maxima of the same size.

    Args:
        x: [B, h, w, C].
        windows: odd sides of the square windows, in nodes.

    Returns:
        [B, h, w, (1 + len(windows)) * C]: x, then the maxima in the order of `windows`.
        Windows are cut at the border of the map.

    Raises:
        ValueError: the side of a window is even.

    Source: the paper, with windows of 5x5 and 9x9 and stride 1.
    """
    if any(window % 2 == 0 for window in windows):
        raise ValueError(f"windows are {windows}, expected odd sides")
    return jnp.concatenate([x, *(_maxima(x, window) for window in windows)], axis=-1)


def _maxima(x: jax.Array, window: int) -> jax.Array:
    # Separately along rows and columns: 2 * window comparisons instead of window**2.
    x = nn.max_pool(x, (window, 1), padding="SAME")
    return nn.max_pool(x, (1, window), padding="SAME")
