"""The head of PSPNet."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from encnet_jax.models.heads import HEADS
from encnet_jax.models.heads.classifier import Classifier
from encnet_jax.models.layers import Layers
from encnet_jax.models.resize import apply_rows_and_columns, resize_bilinear


def adaptive_pool_matrix(out_size: int, in_size: int) -> np.ndarray:
    """Returns the matrix of adaptive average pooling, f32[out_size, in_size].

    Row i averages the input samples `start` to `stop - 1`, where

        start = floor(i * in_size / out_size)
        stop = ceil((i + 1) * in_size / out_size)

    As in PyTorch, a sample can belong to two neighbouring cells.

    Args:
        out_size: number of output cells.
        in_size: number of input samples.
    """
    matrix = np.zeros((out_size, in_size), np.float32)
    for i in range(out_size):
        start = i * in_size // out_size
        stop = -(-(i + 1) * in_size // out_size)
        matrix[i, start:stop] = 1.0 / (stop - start)
    return matrix


def pool_matrices(covered: jax.Array, cells: int) -> jax.Array:
    """Returns matrices of adaptive average pooling for padded images.

    The matrices are those of adaptive_pool_matrix, with zeros for the padding.

    Args:
        covered: f32[B, n], 1 for the rows (or columns) of a padded image that belong to
            the image itself, 0 for padding.
        cells: number of output cells.

    Returns:
        f32[B, cells, n], one matrix for each image.
    """
    size, place = _run_of(covered)
    cell = jnp.arange(cells)[None, :, None]
    start = cell * size // cells
    stop = -(-(cell + 1) * size // cells)
    member = (place >= start) & (place < stop) & (covered[:, None] > 0)
    member = member.astype(jnp.float32)
    return member / jnp.maximum(member.sum(-1, keepdims=True), 1)


def spread_matrices(covered: jax.Array, cells: int, align_corners: bool) -> jax.Array:
    """Returns matrices of linear upsampling from cells to padded images.

    The cells cover the image itself. In the padding, the last cell is repeated.

    Args:
        covered: see pool_matrices.
        cells: number of cells along the axis.
        align_corners: see resize.interpolation_matrix.

    Returns:
        f32[B, n, cells], one matrix for each image.
    """
    size, place = _run_of(covered)
    place, size = place.astype(jnp.float32), size.astype(jnp.float32)
    if align_corners:
        position = place * (cells - 1) / jnp.maximum(size - 1, 1)
    else:
        position = (place + 0.5) * cells / jnp.maximum(size, 1) - 0.5
    position = jnp.clip(position, 0, cells - 1)
    cell = jnp.arange(cells, dtype=jnp.float32)[None, None]
    distance = jnp.abs(position.swapaxes(1, 2) - cell)
    return jnp.maximum(1 - distance, 0)


def _run_of(covered: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Counts the positions of each image without padding and numbers all positions.

    Args:
        covered: see pool_matrices.

    Returns:
        size: i32[B, 1, 1], number of positions that belong to the image itself.
        place: i32[B, 1, n], numbers of all positions; the first position of the image
            itself has the number 0.
    """
    size = jnp.sum(covered > 0, axis=1)[:, None, None]
    first = jnp.argmax(covered > 0, axis=1)[:, None, None]
    return size, jnp.arange(covered.shape[1])[None, None] - first


class PSPHead(nn.Module):
    """The PSPNet head: pyramid pooling, a 3x3 convolution and a classifier.

    The pyramid has levels of 1x1, 2x2, 3x3 and 6x6 cells.

    Source: Zhao et al., CVPR 2017; number of channels as in EncNet's released
    baselines.
    """

    num_classes: int
    layers: Layers
    channels: int = 512
    align_corners: bool = True
    dropout: float = 0.1

    @nn.compact
    def __call__(self, stages: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """Maps stage 4 [B, h, w, C] to {'logits': f32[B, h, w, num_classes]}."""
        x = stages["stage4"]
        height, width = x.shape[1:3]
        branches = [x]
        for cells in (1, 2, 3, 6):
            pooled = self._pool(x, cells)
            pooled = self.layers.unit(self.channels, 1, name=f"pool{cells}")(pooled)
            branches.append(self._spread(pooled, height, width))
        x = jnp.concatenate(branches, axis=-1)
        x = self.layers.unit(self.channels, name="conv")(x)
        classifier = Classifier(
            self.num_classes, self.dropout, self.layers, name="classifier"
        )
        return {"logits": classifier(x)}

    def _pool(self, x: jax.Array, cells: int) -> jax.Array:
        if self.layers.inside is None:
            matrices = (adaptive_pool_matrix(cells, size) for size in x.shape[1:3])
            return apply_rows_and_columns(x, *map(jnp.asarray, matrices))
        sides = self.layers.inside.sides(*x.shape[1:3])
        rows, columns = (pool_matrices(side, cells) for side in sides)
        return jnp.einsum("bih,bjw,bhwc->bijc", rows, columns, x.astype(jnp.float32))

    def _spread(self, pooled: jax.Array, height: int, width: int) -> jax.Array:
        if self.layers.inside is None:
            return resize_bilinear(pooled, height, width, self.align_corners)
        sides = self.layers.inside.sides(height, width)
        cells, align = pooled.shape[1], self.align_corners
        rows, columns = (spread_matrices(side, cells, align) for side in sides)
        return jnp.einsum("bhi,bwj,bijc->bhwc", rows, columns, pooled).astype(
            pooled.dtype
        )


@HEADS.register("pspnet")
def build(m, num_classes: int) -> Callable[..., nn.Module]:
    """Returns the constructor of a PSPHead with the options of `config.model`."""
    return partial(
        PSPHead,
        num_classes,
        channels=m.head_channels,
        align_corners=m.align_corners,
        dropout=m.dropout,
    )
