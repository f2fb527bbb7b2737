"""Positions of a padded canvas that belong to the image."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Inside(NamedTuple):
    """The rows and columns of canvases that images cover.

    Attributes:
        rows: f32[B, H], 1 where a row of pixels belongs to the image, else 0.
        columns: f32[B, W], likewise.
    """

    rows: jax.Array
    columns: jax.Array

    def positions(self, height: int, width: int) -> jax.Array:
        """Returns f32[B, height, width] for a featuremap of the canvas.

        Position i is where convolutions of the stride between them sample pixel
        i * stride. An image of H rows without padding has ceil(H / stride) of them.
        """
        rows, columns = self.sides(height, width)
        return rows[:, :, None] * columns[:, None]

    def sides(self, height: int, width: int) -> tuple[jax.Array, jax.Array]:
        """Returns f32[B, height] and f32[B, width], of the rows and columns."""
        rows, columns = map(_every, self, (height, width))
        return rows, columns

    def only(self, x: jax.Array) -> jax.Array:
        """Returns [B, h, w, C] of x's type with zeros outside."""
        return x * self.positions(*x.shape[1:3])[..., None].astype(x.dtype)


def _every(pixels: jax.Array, size: int) -> jax.Array:
    """Returns f32[B, size], pixels at equal distances."""
    step = -(-pixels.shape[1] // size)
    # Not pixels[:, ::step], which becomes a gather if sides are symbols.
    return jax.lax.slice(pixels, (0, 0), pixels.shape, (1, int(step)))


def of_sizes(sizes: jax.Array | np.ndarray, height: int, width: int) -> Inside:
    """Returns the positions that images at the top left of canvases cover.

    Args:
        sizes: int32[B, 2], height and width of each image in pixels.
        height, width: of the canvases.
    """
    heights, widths = (jax.lax.slice_in_dim(sizes, i, i + 1, axis=1) for i in (0, 1))
    return Inside(
        (jnp.arange(height)[None] < heights).astype(jnp.float32),
        (jnp.arange(width)[None] < widths).astype(jnp.float32),
    )
