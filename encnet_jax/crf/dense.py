"""Dense CRF: aligns predictions with the edges of the image.

Two Gaussian kernels connect every pixel to all pixels in a window around it. The
spatial kernel depends on the distance between pixels, the bilateral kernel on the
distance and on the difference of colours. A mean-field update filters the marginals
with both kernels. The image is split into tiles. All pixels in the windows of a tile's
pixels are the neighbours of the tile. One matrix product with the marginals of the
neighbours updates the tile. Unlike with a permutohedral lattice, shapes are static.

Source: Kraehenbuehl and Koltun, "Efficient Inference in Fully Connected CRFs with
Gaussian Edge Potentials", NeurIPS 2011, with Potts compatibility and symmetrically
normalised kernels. Windows are from Teichmann and Cipolla, "Convolutional CRFs for
Semantic Segmentation", BMVC 2019.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

TILE = 8  # Pixels per side. With larger tiles, more of the products are with zeros.
# Limit for the stored weights of all pairs. Larger weights are recomputed in every
# update.
MAX_HELD_BYTES = 2**29


class DenseParams(NamedTuple):
    """Parameters of the two kernels of a dense CRF; Python numbers or JAX scalars.

    Attributes:
        bilateral_weight: weight of the bilateral kernel, a function of distance and
            colour.
        bilateral_px: standard deviation of the bilateral kernel in space, in pixels.
        bilateral_levels: standard deviation of the bilateral kernel in each colour
            channel, for colours in 0..255.
        spatial_weight: weight of the spatial kernel, a function of distance only.
        spatial_px: standard deviation of the spatial kernel, in pixels.
    """

    bilateral_weight: float
    bilateral_px: float
    bilateral_levels: float
    spatial_weight: float
    spatial_px: float


def refine(
    probabilities: jax.Array,
    image: jax.Array,
    params: DenseParams,
    *,
    radius: int,
    iterations: int,
    valid: jax.Array | None = None,
) -> jax.Array:
    """Returns class probabilities of one image, refined by mean-field updates.

    Each update computes, with a sum over the spatial and the bilateral kernel K,

        Q = softmax(log(probabilities) + sum of weight * D^-1/2 K D^-1/2 Q)
        K(i, j) = exp(-d(i, j)^2 / 2)

    Here d is the distance of pixels i and j in standard deviations, and D is the
    diagonal matrix of the sums of K's rows. Each pixel is also connected to itself.

    Time: O(iterations * N * H * W * C), where N = (TILE + 2 * radius)**2. Memory: a few
    arrays [H, W, C]; and an array [N, H, W] of weights, unless this array would be
    larger than MAX_HELD_BYTES.

    Args:
        probabilities: float[H, W, C], class probabilities, at least float32.
        image: uint8 or float[H, W, 3] in 0..255.
        params: parameters of the kernels.
        radius: each pixel is connected to a window of 2 * radius + 1 pixels per side;
            -1: to all pixels.
        iterations: number of updates.
        valid: bool[H, W], which pixels to use; None: all pixels. Results for unused
            pixels are meaningless.

    Returns:
        float[H, W, C], the marginals Q after the last update.
    """
    dtype = probabilities.dtype
    params = jax.tree.map(lambda x: jnp.asarray(x, dtype), params)
    if valid is None:
        valid = jnp.ones(probabilities.shape[:2], bool)
    height, width = valid.shape
    tiles = _Tiles(height, width, radius)
    kernels = _Kernels(tiles, image.astype(dtype), valid.astype(dtype), params)
    log_p = tiles.of(jnp.log(jnp.maximum(probabilities, jnp.finfo(dtype).tiny)))

    def update(_, q):
        neighbours = tiles.pad(tiles.joined(q))

        def of_row(row):
            messages = kernels.weights(row) @ tiles.neighbours(neighbours, row)
            return jax.nn.softmax(log_p[row] + messages, axis=-1)

        with jax.default_matmul_precision("highest"):
            return jax.lax.map(of_row, tiles.rows)

    q = jax.lax.fori_loop(0, iterations, update, jax.nn.softmax(log_p, axis=-1))
    return tiles.joined(q)


class _Tiles:
    """Splits an image into rows of square tiles, and gathers the neighbours of tiles.

    The neighbours of a tile are all pixels in the windows of the tile's pixels. Shapes:
    R rows of tiles, T pixels per tile, N neighbours per tile.

    Attributes:
        rows: int32[R], indices of the rows of tiles.
        size: height and width of the image in pixels.
        squared: f[T, N], squared distance in pixels between each pixel of a tile and
            each neighbour of the tile; infinite outside the pixel's window.
    """

    def __init__(self, height, width, radius):
        self.size = height, width
        self._reach = [
            n - 1 if radius < 0 else min(radius, n - 1) for n in (height, width)
        ]
        self._counts = [-(-n // TILE) for n in (height, width)]
        self.rows = np.arange(self._counts[0], dtype=np.int32)
        down, across = (
            np.arange(-reach, TILE + reach)[None] - np.arange(TILE)[:, None]
            for reach in self._reach
        )
        squared = down[:, None, :, None] ** 2.0 + across[None, :, None] ** 2.0
        outside = (abs(down) > self._reach[0])[:, None, :, None] | (
            abs(across) > self._reach[1]
        )[None, :, None]
        squared[outside] = np.inf
        self.squared = squared.reshape(TILE**2, -1)

    def of(self, x):
        """Splits an array [H, W, C] into square tiles, the last ones padded with zeros.

        Returns:
            [rows of tiles, tiles per row, pixels per tile, C].
        """
        missing = [
            (0, k * TILE - n) for k, n in zip(self._counts, self.size, strict=True)
        ]
        x = jnp.pad(x, [*missing, (0, 0)])
        x = x.reshape(self._counts[0], TILE, self._counts[1], TILE, x.shape[-1])
        return x.swapaxes(1, 2).reshape(*self._counts, TILE**2, x.shape[-1])

    def joined(self, tiles):
        """Joins square tiles, as returned by `of`, to an array [H, W, C]."""
        x = tiles.reshape(*self._counts, TILE, TILE, tiles.shape[-1]).swapaxes(1, 2)
        x = x.reshape(self._counts[0] * TILE, self._counts[1] * TILE, x.shape[-1])
        return x[: self.size[0], : self.size[1]]

    def pad(self, x):
        """Pads an array [H, W, C] with zeros to contain the neighbours of all tiles."""
        widths = [
            (reach, k * TILE - n + reach)
            for reach, k, n in zip(self._reach, self._counts, self.size, strict=True)
        ]
        return jnp.pad(x, [*widths, (0, 0)])

    def neighbours(self, padded, row):
        """Returns the values of the N neighbours of each tile in a row of tiles.

        Args:
            padded: result of `pad` for an array [H, W, C].
            row: index of the row of tiles.

        Returns:
            [tiles per row, N, C].
        """
        height, width = (TILE + 2 * reach for reach in self._reach)
        band = jax.lax.dynamic_slice_in_dim(padded, row * TILE, height)
        columns = np.arange(self._counts[1])[:, None] * TILE + np.arange(width)
        found = band[:, columns].swapaxes(0, 1)
        return found.reshape(self._counts[1], height * width, padded.shape[-1])


class _Kernels:
    """The weighted sum of the normalised spatial and bilateral kernels of an image.

    The sum is stored if it fits in MAX_HELD_BYTES; else it is computed in each update.
    """

    def __init__(self, tiles, image, valid, params):
        self._tiles, self._params = tiles, params
        self._image, self._padded_image = tiles.of(image), tiles.pad(image)
        sums = tiles.joined(self._row_sums(tiles.pad(valid[..., None])))
        # Zero for invalid pixels, which then neither send nor receive messages.
        scales = valid[..., None] / jnp.sqrt(
            jnp.maximum(sums, jnp.finfo(sums.dtype).tiny)
        )
        self._padded_scales, self._scales = tiles.pad(scales), tiles.of(scales)
        held = self._image[..., 0].size * tiles.squared.shape[1] * sums.itemsize
        self._held = (
            jax.lax.map(self._weights, tiles.rows) if held <= MAX_HELD_BYTES else None
        )

    def weights(self, row):
        """Returns the weighted kernel sum for one row of tiles.

        The shape is [tiles per row, pixels per tile, neighbours per tile].
        """
        return self._weights(row) if self._held is None else self._held[row]

    def _weights(self, row):
        here = self._scales[row][:, :, None]
        there = self._tiles.neighbours(self._padded_scales, row)[:, None]
        bilateral, spatial = self._at(row)
        params = self._params
        return (
            params.bilateral_weight * bilateral * here[..., 0] * there[..., 0]
            + params.spatial_weight * spatial * here[..., 1] * there[..., 1]
        )

    def _row_sums(self, padded_valid):
        def of_row(row):
            valid = self._tiles.neighbours(padded_valid, row)[:, None, :, 0]
            return jnp.stack([jnp.sum(k * valid, -1) for k in self._at(row)], -1)

        return jax.lax.map(of_row, self._tiles.rows)

    def _at(self, row):
        """Returns the kernels for one row of tiles, before normalisation.

        Returns:
            Tuple (bilateral kernel [tiles per row, T, N], spatial kernel [1, T, N]),
            with T pixels and N neighbours per tile.
        """
        params, image = self._params, self._image[row]
        squared = jnp.asarray(self._tiles.squared, image.dtype)[None]
        others = self._tiles.neighbours(self._padded_image, row)
        colour = sum(
            (image[..., None, i] - others[:, None, :, i]) ** 2 for i in range(3)
        )
        distance = squared / params.bilateral_px**2
        bilateral = jnp.exp(-(distance + colour / params.bilateral_levels**2) / 2)
        return bilateral, jnp.exp(-squared / params.spatial_px**2 / 2)
