"""Constructors of layers, with the options that all layers of a network share."""

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
    """Convolution, batch normalisation, ReLU: submodules conv and norm.

    Attributes:
        conv, norm: make the two layers, given a name.
    """

    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C_in] to the convolution's output, normalised."""
        return nn.relu(self.norm(name="norm")(self.conv(name="conv")(x)))


class Layers(NamedTuple):
    """Constructors of layers: compute type, mapped axis and mode are filled in.

    Attributes:
        conv: makes a Conv.
        norm: makes a SyncBatchNorm.
        dropout: makes an nn.Dropout.
        inside: the part of each canvas that is not ignored; None: all of it.
    """

    conv: Callable[..., Conv]
    norm: Callable[..., SyncBatchNorm]
    dropout: Callable[..., nn.Dropout]
    inside: Inside | None = None

    def unit(self, *args, name: str, **kwargs) -> ConvNormRelu:
        """Makes a convolution without bias, batch norm and ReLU.

        Args:
            args, kwargs: of Conv.
            name: of the unit.
        """
        return ConvNormRelu(partial(self.conv, *args, **kwargs), self.norm, name=name)

    def only_inside(self, x: jax.Array) -> jax.Array:
        """Returns x [B, h, w, C] with zeros outside of `inside`."""
        return x if self.inside is None else self.inside.only(x)

    def weights(self, x: jax.Array) -> jax.Array | None:
        """Returns f32[B, h, w], 1 inside and 0 outside; None: all of x is inside."""
        return None if self.inside is None else self.inside.positions(*x.shape[1:3])

    def mean(self, x: jax.Array) -> jax.Array:
        """Returns the mean f32[B, 1, 1, C] of the positions of x inside."""
        weights = self.weights(x)
        where = None if weights is None else weights[..., None] > 0
        x = x.astype(jnp.float32)
        return jnp.mean(x, axis=(1, 2), keepdims=True, where=where)

    def average_pool(self, x: jax.Array, stride: int) -> jax.Array:
        """Returns means over cells of stride x stride of the positions that count.

        The last pixel of an odd side forms a cell of its own: ceil_mode.
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
        """Returns layers whose convolutions are initialised in another way."""
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
    """Returns the layers of a network.

    Args:
        train: whether batch norms use the batch's statistics and dropout drops.
        axis_name: pmap axis of the batch norms; None for one device.
        dtype: compute type; parameters and statistics are float32.
        inside: the part of each canvas that is not ignored; None: all of it.
        norm_epsilon: of the batch norms, added to the variance.
        frozen_norm: batch norms use their running statistics in training too and do
            not update them; scales and biases still learn.
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
