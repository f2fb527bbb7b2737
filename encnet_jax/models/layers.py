"""What all layers of a network have in common, said once."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from encnet_jax.models.conv import Conv
from encnet_jax.models.norm import SyncBatchNorm


class ConvNormRelu(nn.Module):
    """Convolution, batch normalisation, ReLU: submodules conv and norm.

    Attributes:
        conv, norm: make the two layers, given a name.
    """

    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C_in] to what the convolution returns, normalised."""
        return nn.relu(self.norm(name="norm")(self.conv(name="conv")(x)))


class Layers(NamedTuple):
    """Makes layers of one network: compute type, mapped axis and mode are filled in.

    Attributes:
        conv: makes a Conv.
        norm: makes a SyncBatchNorm.
        dropout: makes an nn.Dropout.
    """

    conv: Callable[..., Conv]
    norm: Callable[..., SyncBatchNorm]
    dropout: Callable[..., nn.Dropout]

    def unit(self, *args, name: str, **kwargs) -> ConvNormRelu:
        """Makes a convolution without bias, batch norm and ReLU.

        Args:
            args, kwargs: of Conv.
            name: of the unit.
        """
        return ConvNormRelu(partial(self.conv, *args, **kwargs), self.norm, name=name)

    def drawn_by(self, kernel_init: jax.nn.initializers.Initializer) -> "Layers":
        """Returns layers whose convolutions begin by another rule."""
        return self._replace(conv=partial(self.conv, kernel_init=kernel_init))


def make_layers(
    train: bool = False, axis_name: str | None = None, dtype: Any = jnp.float32
) -> Layers:
    """Returns the layers of a network.

    Args:
        train: whether batch norms use the batch's statistics and dropout drops.
        axis_name: pmap axis of the batch norms; None for one device.
        dtype: compute type; parameters and statistics are float32.
    """
    return Layers(
        conv=partial(Conv, dtype=dtype),
        norm=partial(SyncBatchNorm, axis_name, dtype=dtype, train=train),
        dropout=partial(nn.Dropout, deterministic=not train),
    )
