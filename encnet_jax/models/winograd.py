"""Computes 3x3 convolutions with stride 1 by Winograd's algorithm, for CPUs."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from encnet_jax.models.bands import Taps

SIZE = 3  # Height and width of the kernel.
POINTS = "winograd_points"  # Name of the parameter with the transformed kernel.


# The matrices of F(2 x 2, 3 x 3) for one axis: a tile of two outputs is
# _OUTPUTS @ ((_WEIGHTS @ kernel) * (_INPUTS @ pixels)).
_INPUTS = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
_WEIGHTS = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
_OUTPUTS = np.array([[1, 1, 1, 0], [0, 1, -1, -1]])
# Number of outputs and of products of a tile along one axis.
_TILE, _PRODUCTS = _OUTPUTS.shape

_BLOCK_CHANNELS = 256  # Number of input channels that are convolved at a time.
# With fewer channels, transforming the feature map takes more time than is saved.
_FEWEST_CHANNELS, _FEWEST_WEIGHTS = 64, 64 * 128


def suits(kernel: jax.Array, taps: Taps) -> bool:
    """Returns whether Winograd's algorithm is the fastest for a convolution on a CPU.

    Args:
        kernel: [k, k, C_in, C_out].
        taps: stride, dilation and padding.
    """
    size, _, *channels = kernel.shape
    return (
        size == SIZE
        and kernel.dtype.itemsize >= 4  # The transform of bfloat16 is inaccurate.
        and taps.stride == 1
        and min(channels) >= _FEWEST_CHANNELS
        and channels[0] * channels[1] >= _FEWEST_WEIGHTS
    )


def transform_kernel(kernel: jax.Array) -> list[jax.Array]:
    """Returns Winograd's transform of a 3x3 kernel, for `convolve_transformed`.

    Args:
        kernel: [3, 3, C_in, C_out].

    Returns:
        16 arrays [C_in, C_out] of the kernel's dtype.
    """
    # Sums of slices instead of einsum, whose 3 x 3 products are slower than the
    # convolution itself.
    rows = _both_axes(_WEIGHTS, [list(row) for row in kernel])
    return [point for row in rows for point in row]


def convolve(x: jax.Array, kernel: jax.Array, taps: Taps) -> jax.Array:
    """Computes a 3x3 convolution with stride 1.

    If C_in is a multiple of 256, input channels are convolved in blocks of 256, one
    block after the other, to save memory.

    Args:
        x: [B, H, W, C_in].
        kernel: [3, 3, C_in, C_out], of x's dtype.
        taps: stride, which must be 1, dilation and padding.

    Returns:
        [B, H', W', C_out] of x's dtype, where H' is H + 2 * padding - 2 * dilation.
    """
    # Without blocks, the transformed kernel and gradients of a network's widest
    # convolution would take a third of the memory of all other arrays of a training
    # step.
    blocks, rest = divmod(x.shape[-1], _BLOCK_CHANNELS)
    if blocks < 2 or rest:
        return convolve_transformed(x, transform_kernel(kernel), taps)
    x = jnp.moveaxis(x.reshape(*x.shape[:-1], blocks, _BLOCK_CHANNELS), -2, 0)
    split = (*kernel.shape[:2], blocks, _BLOCK_CHANNELS, kernel.shape[-1])
    kernels = jnp.moveaxis(kernel.reshape(split), 2, 0)

    @jax.checkpoint  # Frees the transformed pixels of each block.
    def add(total, block):
        x, kernel = block
        return total + convolve_transformed(x, transform_kernel(kernel), taps), None

    shape = jax.eval_shape(lambda *block: add(0, block)[0], x[0], kernels[0])
    return jax.lax.scan(add, jnp.zeros(shape.shape, shape.dtype), (x, kernels))[0]


def convolve_transformed(
    x: jax.Array, points: jax.Array | Sequence[jax.Array], taps: Taps
) -> jax.Array:
    """Computes a 3x3 convolution with stride 1 from a transformed kernel.

    Each tile of 2x2 outputs takes 16 instead of 36 multiplications per pair of an input
    and an output channel; over all tiles and channels, these are 16 matrix products.
    With dilation d, the image is split into d x d images, each with every d-th row and
    column, which are convolved without dilation.

    Args:
        x: [B, H, W, C_in].
        points: the transformed kernel, 16 arrays [C_in, C_out] of x's dtype; see
            transform_kernel.
        taps: stride, which must be 1, dilation and padding.

    Returns:
        [B, H', W', C_out] of x's dtype, where H' is H + 2 * padding - 2 * dilation.

    Source: Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR
    2016, section 4.1.
    """
    images, *sides, channels = x.shape
    dilation, padding = taps.dilation, taps.padding
    step = _TILE * dilation
    out_sides = [side + 2 * padding - (SIZE - 1) * dilation for side in sides]
    tiles = [-(-side // step) for side in out_sides]
    # One extra tile: the last tile of outputs also reads pixels of the next tile.
    pads = [
        (padding, (count + 1) * step - side - padding)
        for side, count in zip(sides, tiles, strict=True)
    ]
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    cells = [(count + 1, _TILE, dilation) for count in tiles]
    x = x.reshape(images, *cells[0], *cells[1], channels)
    y = _tiles(x, points)
    y = y.reshape(images, *(count * step for count in tiles), points[0].shape[-1])
    return y[:, : out_sides[0], : out_sides[1]]


def _tiles(x: jax.Array, points: jax.Array | Sequence[jax.Array]) -> jax.Array:
    """Convolves images that are split into tiles of 2x2 positions.

    Args:
        x: [B, T + 1, 2, d, S + 1, 2, d, C]: d x d offsets, where d is the dilation, of
            (T + 1) x (S + 1) tiles. The last row and column of tiles have no output.
        points: see convolve_transformed.

    Returns:
        [B, T, 2, d, S, 2, d, C_out].
    """
    rows, columns = x.shape[1] - 1, x.shape[4] - 1
    places = [divmod(i, _TILE) for i in range(_PRODUCTS)]
    pixels = [
        [x[:, t : t + rows, i, :, s : s + columns, j] for s, j in places]
        for t, i in places
    ]
    shape = (*pixels[0][0].shape[:-1], points[0].shape[-1])
    inputs = _both_axes(_INPUTS, pixels)
    products = [
        [
            inputs[a][b].reshape(-1, x.shape[-1]) @ points[a * _PRODUCTS + b]
            for b in range(_PRODUCTS)
        ]
        for a in range(_PRODUCTS)
    ]
    outputs = _both_axes(_OUTPUTS, products)
    rows_of = [jnp.stack([y.reshape(shape) for y in row], axis=4) for row in outputs]
    return jnp.stack(rows_of, axis=2)


def _both_axes(
    matrix: np.ndarray, grid: Sequence[Sequence[jax.Array]]
) -> list[list[jax.Array]]:
    """Returns matrix @ grid @ matrix.T for a grid whose elements are arrays."""
    down = [
        [_combination(row, column) for column in zip(*grid, strict=True)]
        for row in matrix
    ]
    return [[_combination(row, across) for row in matrix] for across in down]


def _combination(factors: np.ndarray, arrays: Sequence[jax.Array]) -> jax.Array:
    """Returns the sum of arrays[i] * factors[i]; skips factors that are 0."""
    total: Any = None
    for factor, array in zip(factors, arrays, strict=True):
        if factor == 0:
            continue
        term = array if abs(factor) == 1 else array * abs(float(factor))
        if total is None:
            total = term if factor > 0 else -term
        else:
            total = total + term if factor > 0 else total - term
    return total
