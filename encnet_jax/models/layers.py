"""Creates the constructors of a network's layers, with the network's options."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from encnet_jax.models.conv import Conv
from encnet_jax.models.inside import Inside
from encnet_jax.models.norm import GroupedAxis, SyncBatchNorm


class ConvNormRelu(nn.Module):
    """A convolution followed by batch normalisation and ReLU.

    Attributes:
        conv: constructor of the convolution, called with `name`.
        norm: constructor of the batch norm, called with `name`.
    """

    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C_in] to [B, H', W', C_out], as the convolution does."""
        return nn.relu(self.norm(name="norm")(self.conv(name="conv")(x)))


class Layers(NamedTuple):
    """The constructors of a network's layers, with the network's options.

    Attributes:
        conv: constructor of Conv.
        norm: constructor of SyncBatchNorm.
        dropout: constructor of nn.Dropout.
        inside: the pixels of each padded image that belong to the image itself; layers
            ignore the padding. None if no image is padded.
    """

    conv: Callable[..., Conv]
    norm: Callable[..., SyncBatchNorm]
    dropout: Callable[..., nn.Dropout]
    inside: Inside | None = None

    def unit(self, *args, name: str, **kwargs) -> ConvNormRelu:
        """Creates a ConvNormRelu, whose convolution has no bias by default.

        Args:
            args, kwargs: arguments of the convolution; see conv.Conv.
            name: name of the ConvNormRelu.
        """
        return ConvNormRelu(partial(self.conv, *args, **kwargs), self.norm, name=name)

    def only_inside(self, x: jax.Array) -> jax.Array:
        """Returns the feature map x [B, h, w, C] with the padding set to zero."""
        return x if self.inside is None else self.inside.only(x)

    def weights(self, x: jax.Array) -> jax.Array | None:
        """Returns the weight of each position: 1 inside the image, 0 in the padding.

        Args:
            x: feature map [B, h, w, C].

        Returns:
            f32[B, h, w]; None if no image is padded.
        """
        return None if self.inside is None else self.inside.positions(*x.shape[1:3])

    def mean(self, x: jax.Array) -> jax.Array:
        """Returns the mean of x over the image without padding, f32[B, 1, 1, C]."""
        weights = self.weights(x)
        where = None if weights is None else weights[..., None] > 0
        x = x.astype(jnp.float32)
        return jnp.mean(x, axis=(1, 2), keepdims=True, where=where)

    def average_pool(self, x: jax.Array, stride: int) -> jax.Array:
        """Averages cells of stride x stride positions, without an image's padding.

        The output size is rounded up, as with PyTorch's ceil_mode. A cell that extends
        beyond the border is averaged over its positions inside the border.

        Args:
            x: feature map [B, h, w, C].
            stride: height and width of a cell.
        """
        padding = [(0, -size % stride) for size in x.shape[1:3]]
        cells = (stride, stride)
        pool = partial(
            nn.avg_pool,
            window_shape=cells,
            strides=cells,
            padding=padding,
            count_include_pad=False,
        )
        weights = self.weights(x)
        if weights is None:
            return pool(x)
        counted = pool(weights[..., None]).astype(x.dtype)
        return pool(self.only_inside(x)) / jnp.where(counted > 0, counted, 1)

    def initialised_by(self, kernel_init: jax.nn.initializers.Initializer) -> "Layers":
        """Returns a copy that initialises convolution kernels with `kernel_init`."""
        return self._replace(conv=partial(self.conv, kernel_init=kernel_init))


def make_layers(
    train: bool = False,
    axis_name: str | GroupedAxis | None = None,
    dtype: Any = jnp.float32,
    inside: Inside | None = None,
    *,
    norm_epsilon: float = 1e-5,
    frozen_norm: bool = False,
) -> Layers:
    """Returns the constructors of a network's layers.

    Args:
        train: whether batch norms use batch statistics and dropout is on.
        axis_name: pmap axis over which batch norms are synchronised; None for one
            device.
        dtype: dtype of the computation; parameters and statistics are float32.
        inside: the pixels of each padded image that belong to the image itself; layers
            ignore the padding. None if no image is padded.
        norm_epsilon: epsilon of the batch norms, added to the variance.
        frozen_norm: whether batch norms use their running statistics in training too,
            without updating them; scales and biases are still trained.
    """
    return Layers(
        conv=partial(Conv, dtype=dtype, inside=inside),
        norm=partial(
            SyncBatchNorm,
            axis_name,
            epsilon=norm_epsilon,
            dtype=dtype,
            train=train and not frozen_norm,
        ),
        dropout=partial(nn.Dropout, deterministic=not train),
        inside=inside,
    )
