"""Initialisers of weights: He-normal for backbones, PyTorch's default for heads."""

from collections.abc import Callable

import flax.linen as nn
import jax

he_normal_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
# Uniform within 1 / sqrt(fan_in), PyTorch's default for convolutions and linear layers.
uniform_kernel = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def uniform_bias(fan_in: int) -> Callable[..., jax.Array]:
    """Returns an initialiser that samples from U(-b, b) with b = 1 / sqrt(fan_in).

    Args:
        fan_in: number of inputs per output; k * k * C_in for a convolution.

    Source: PyTorch's default. The authors of EncNet use it outside the backbone.
    """
    bound = fan_in**-0.5

    def draw(key, shape, dtype):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return draw
