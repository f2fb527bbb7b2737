"""Marks the positions of a padded image that belong to the image itself.

Images of several sizes are padded to one size, at the bottom and at the right, so that
they form a batch.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Inside(NamedTuple):
    """The rows and columns of padded images that belong to the images themselves.

    Attributes:
        rows: f32[B, H], 1 for rows of pixels that belong to the image, 0 for padding.
        columns: f32[B, W], 1 for columns that belong to the image, 0 for padding.
    """

    rows: jax.Array
    columns: jax.Array

    def positions(self, height: int, width: int) -> jax.Array:
        """Returns which positions of a feature map belong to the image.

        Row i of a feature map with stride s corresponds to row i * s of the image.

        Args:
            height, width: size of the feature map.

        Returns:
            f32[B, height, width], 1 at positions of the image, 0 in the padding.
        """
        rows, columns = self.sides(height, width)
        return rows[:, :, None] * columns[:, None]

    def sides(self, height: int, width: int) -> tuple[jax.Array, jax.Array]:
        """Returns which rows and columns of a feature map belong to the image.

        Args:
            height, width: size of the feature map.

        Returns:
            rows: f32[B, height], 1 for rows of the image, 0 for padding.
            columns: f32[B, width], 1 for columns of the image, 0 for padding.
        """
        rows, columns = map(_every, self, (height, width))
        return rows, columns

    def only(self, x: jax.Array) -> jax.Array:
        """Returns the feature map x [B, h, w, C] with the padding set to zero."""
        return x * self.positions(*x.shape[1:3])[..., None].astype(x.dtype)


def _every(pixels: jax.Array, size: int) -> jax.Array:
    """Subsamples f32[B, N] to f32[B, size] along the second axis."""
    step = -(-pixels.shape[1] // size)
    # Not pixels[:, ::step], which becomes a gather if the sides are symbolic.
    return jax.lax.slice(pixels, (0, 0), pixels.shape, (1, int(step)))


def of_sizes(sizes: jax.Array | np.ndarray, height: int, width: int) -> Inside:
    """Returns an Inside for images that are padded at the bottom and at the right.

    Args:
        sizes: int32[B, 2], height and width of each image without padding, in pixels.
        height, width: size of the padded images in pixels.
    """
    heights, widths = (jax.lax.slice_in_dim(sizes, i, i + 1, axis=1) for i in (0, 1))
    return Inside(
        (jnp.arange(height)[None] < heights).astype(jnp.float32),
        (jnp.arange(width)[None] < widths).astype(jnp.float32),
    )
