"""Marks the positions of a padded image that belong to the image itself.

Images of several sizes are padded at the bottom and right to the size of one canvas.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Inside(NamedTuple):
    """The rows and columns of padded images that belong to the images themselves.

    Attributes:
        rows: f32[B, H], 1 for rows of pixels that belong to the image, else 0.
        columns: f32[B, W], the same for columns.
    """

    rows: jax.Array
    columns: jax.Array

    def positions(self, height: int, width: int) -> jax.Array:
        """Returns f32[B, height, width]: 1 at positions inside the image, else 0.

        Position i of a feature map corresponds to pixel i * stride, as in strided
        convolutions. An image of H rows covers ceil(H / stride) rows of positions.

        Args:
            height, width: size of the feature map.
        """
        rows, columns = self.sides(height, width)
        return rows[:, :, None] * columns[:, None]

    def sides(self, height: int, width: int) -> tuple[jax.Array, jax.Array]:
        """Returns the rows and columns of a feature map that belong to the image.

        Args:
            height, width: size of the feature map.

        Returns:
            f32[B, height] and f32[B, width], 1 inside the image, else 0.
        """
        rows, columns = map(_every, self, (height, width))
        return rows, columns

    def only(self, x: jax.Array) -> jax.Array:
        """Returns the feature map x [B, h, w, C] with zeros outside the image."""
        return x * self.positions(*x.shape[1:3])[..., None].astype(x.dtype)


def _every(pixels: jax.Array, size: int) -> jax.Array:
    """Subsamples f32[B, N] to f32[B, size], with step ceil(N / size)."""
    step = -(-pixels.shape[1] // size)
    # Not pixels[:, ::step], which becomes a gather if the sides are symbolic.
    return jax.lax.slice(pixels, (0, 0), pixels.shape, (1, int(step)))


def of_sizes(sizes: jax.Array | np.ndarray, height: int, width: int) -> Inside:
    """Returns an Inside for images at the top left corners of canvases.

    Args:
        sizes: int32[B, 2], height and width of each image in pixels.
        height, width: size of the canvases in pixels.
    """
    heights, widths = (jax.lax.slice_in_dim(sizes, i, i + 1, axis=1) for i in (0, 1))
    return Inside(
        (jnp.arange(height)[None] < heights).astype(jnp.float32),
        (jnp.arange(width)[None] < widths).astype(jnp.float32),
    )
