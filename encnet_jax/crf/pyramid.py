"""Sliding pyramid pooling: concatenates a map with its maxima over sliding windows."""

import flax.linen as nn
import jax
import jax.numpy as jnp

WINDOWS = (5, 9)


def sliding_maxima(x: jax.Array, windows: tuple[int, ...] = WINDOWS) -> jax.Array:
    """Concatenates a feature map with its maxima over sliding windows.

    Args:
        x: [B, h, w, C].
        windows: heights of the square windows in positions; odd numbers.

    Returns:
        [B, h, w, (1 + len(windows)) * C]: x, then the maxima in the order of `windows`.
        Windows are cut at the border of the map.

    Raises:
        ValueError: the height of a window is even.

    Source: the paper (see encnet_jax.crf), with windows of 5x5 and 9x9 and stride 1.
    """
    if any(window % 2 == 0 for window in windows):
        raise ValueError(f"windows have the heights {windows}; expected odd numbers")
    return jnp.concatenate([x, *(_maxima(x, window) for window in windows)], axis=-1)


def _maxima(x: jax.Array, window: int) -> jax.Array:
    # Separately along both axes: 2 * window comparisons instead of window**2.
    x = nn.max_pool(x, (window, 1), padding="SAME")
    return nn.max_pool(x, (1, window), padding="SAME")
