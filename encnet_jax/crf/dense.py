"""Dense CRF: aligns scores with the edges of their image.

Every pixel is connected to all pixels in a window around it by two Gaussian kernels,
one of distance and one of distance and colour. A mean-field update is then a filter. It
is summed over offsets, with static shapes, without a lattice or hashing.

Source: Kraehenbuehl and Koltun, "Efficient Inference in Fully Connected CRFs with
Gaussian Edge Potentials", NeurIPS 2011, with Potts compatibility and kernels that are
normalised symmetrically. The window: Teichmann and Cipolla, "Convolutional CRFs for
Semantic Segmentation", BMVC 2019.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

# Number of offsets whose sum the compiler fuses into one pass over the map.
UNROLL = 8
# Limit for stored weights of all pairs; beyond it, every update computes them.
MAX_HELD_BYTES = 2**29


class DenseParams(NamedTuple):
    """Parameters of the kernels, scalars that may be traced.

    Attributes:
        bilateral_weight: weight of the kernel of distance and colour.
        bilateral_px: its standard deviation in the image, in pixels.
        bilateral_levels: its standard deviation in colour, in levels of 0..255.
        spatial_weight: weight of the kernel that depends only on distance.
        spatial_px: its standard deviation, in pixels.
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
    """Returns the marginals of one image after mean-field updates.

    Each update is Q = softmax(log probabilities + sum over both kernels of
    weight * D^-1/2 K D^-1/2 Q), where K(i, j) = exp(-d(i, j)^2 / 2) with distances in
    standard deviations, D are the sums of K's rows, and a pixel's own term is kept.

    Time is O(iterations * window * H * W * C); memory a few arrays [H, W, C], and one
    f[window, H, W] of weights if that is at most MAX_HELD_BYTES.

    Args:
        probabilities: float[H, W, C], at least float32.
        image: uint8 or float[H, W, 3] in 0..255.
        params: parameters of the kernels.
        radius: pixels; kernels are cut to windows of 2 * radius + 1 pixels a side. -1
            connects all pairs of pixels.
        iterations: number of updates.
        valid: bool[H, W], the pixels to use; None: all. Results of other pixels are
            meaningless.

    Returns:
        float[H, W, C].
    """
    height, width = probabilities.shape[:2]
    dtype = probabilities.dtype
    params = jax.tree.map(lambda x: jnp.asarray(x, dtype), params)
    if valid is None:
        valid = jnp.ones((height, width), bool)
    kernels = _Kernels(image, valid.astype(dtype), params, radius)
    # Channels first: the weight of each pixel then multiplies rows of one class.
    log_p = jnp.log(jnp.maximum(probabilities, jnp.finfo(dtype).tiny))
    log_p = jnp.moveaxis(log_p, -1, 0)

    def update(_, q):
        return jax.nn.softmax(log_p + kernels.messages(q), axis=0)

    q = jax.lax.fori_loop(0, iterations, update, jax.nn.softmax(log_p, axis=0))
    return jnp.moveaxis(q, 0, -1)


class _Kernels:
    """Both kernels of an image, evaluated once for each pair if memory allows."""

    def __init__(self, image, valid, params, radius):
        height, width = valid.shape
        down, across = (
            (n - 1 if radius < 0 else min(radius, n - 1)) for n in (height, width)
        )
        rows, columns = np.arange(-down, down + 1), np.arange(-across, across + 1)
        offsets = np.stack(np.meshgrid(rows, columns, indexing="ij"), -1)
        self._offsets = offsets.reshape(-1, 2).astype(np.int32)
        self._reach, self._size, self._params = (down, across), valid.shape, params
        image = jnp.moveaxis(image.astype(valid.dtype), -1, 0)
        self._image, self._padded_image = image, self._pad(image)
        sums = self._row_sums(self._pad(valid))
        # Zero for pixels that are not valid: they neither send nor receive.
        scales = valid[None] / jnp.sqrt(jnp.maximum(sums, jnp.finfo(sums.dtype).tiny))
        self._padded_scales = self._pad(scales)
        weights = jnp.stack([params.bilateral_weight, params.spatial_weight])
        self._scales = weights[:, None, None] * scales
        held = len(self._offsets) * height * width * valid.dtype.itemsize
        self._held = (
            jax.lax.map(self._weight, self._offsets) if held <= MAX_HELD_BYTES else None
        )

    def messages(self, q: jax.Array) -> jax.Array:
        """Returns [C, H, W], the weighted sum of both normalised kernels on q."""
        padded = self._pad(q)

        def add(total, inputs):
            offset, weight = inputs
            weight = self._weight(offset) if weight is None else weight
            return total + weight[None] * self._shifted(padded, offset), None

        pairs = (self._offsets, self._held)
        return jax.lax.scan(add, jnp.zeros_like(q), pairs, unroll=UNROLL)[0]

    def _weight(self, offset):
        """Returns [H, W]: the weight of the pixel at offset in each pixel's message."""
        kernels = self._at(offset) * self._shifted(self._padded_scales, offset)
        return jnp.sum(self._scales * kernels, axis=0)

    def _row_sums(self, padded_valid):
        def add(total, offset):
            at_other = self._shifted(padded_valid, offset)[None]
            return total + self._at(offset) * at_other, None

        zeros = jnp.zeros((2, *self._size), padded_valid.dtype)
        return jax.lax.scan(add, zeros, self._offsets, unroll=UNROLL)[0]

    def _at(self, offset):
        """Returns [2, H, W]: both kernels between each pixel and the one at offset."""
        params = self._params
        distance = jnp.sum(offset.astype(self._image.dtype) ** 2)
        colour = jnp.sum(
            (self._shifted(self._padded_image, offset) - self._image) ** 2, axis=0
        )
        bilateral = distance / params.bilateral_px**2
        bilateral = bilateral + colour / params.bilateral_levels**2
        spatial = jnp.broadcast_to(distance / params.spatial_px**2, self._size)
        return jnp.exp(-jnp.stack([bilateral, spatial]) / 2)

    def _pad(self, x):
        """Adds zeros around the last two axes, as far as offsets reach."""
        widths = [(0, 0)] * (x.ndim - 2) + [(r, r) for r in self._reach]
        return jnp.pad(x, widths)

    def _shifted(self, padded, offset):
        top, left = (offset[i] + self._reach[i] for i in (0, 1))
        rows = jax.lax.dynamic_slice_in_dim(padded, top, self._size[0], axis=-2)
        return jax.lax.dynamic_slice_in_dim(rows, left, self._size[1], axis=-1)
