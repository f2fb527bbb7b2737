"""Convolutions with the same padding as in PyTorch."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from encnet_jax.models import initial_weights, winograd
from encnet_jax.models.bands import Taps
from encnet_jax.models.conv_forms import convolve
from encnet_jax.models.inside import Inside


def output_name(*path: str) -> str:
    """Returns the name by which rematerialisation selects a convolution's output.

    Args:
        *path: name of the enclosing module, then name of the convolution.
    """
    return "/".join(path)


class Conv(nn.Module):
    """A convolution with the same zero padding at opposite edges of the image.

    The padding is dilation * (kernel_size // 2), as in PyTorch networks. Flax's SAME
    padding is asymmetric at stride 2: with converted PyTorch weights, the output would
    be shifted by a pixel.

    Attributes:
        features: number of output channels.
        kernel_size: k, height and width of the kernel.
        inside: the pixels of each padded image that belong to the image itself, as an
            Inside; None if no image is padded.
        dtype: dtype of the computation; the parameters are float32.

    Params: kernel f32[k, k, C_in, features], initialised by `kernel_init`; with
    `use_bias`, also bias f32[features], initialised as in PyTorch.
    `folding.transform_kernels` can replace the kernel by a transformed kernel, whose
    name is `winograd.POINTS`.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    dilation: int = 1
    use_bias: bool = False
    kernel_init: Callable = initial_weights.uniform_kernel
    inside: Inside | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C_in] to [B, ceil(H / stride), ceil(W / stride), features].

        If `inside` is given, kernels larger than 1x1 read zeros outside the image.
        """
        size, channels = self.kernel_size, x.shape[-1]
        x = x.astype(self.dtype)
        if size > 1 and self.inside is not None:
            x = self.inside.only(x)
        taps = Taps(self.stride, self.dilation, self.dilation * (size // 2))
        if self.has_variable("params", winograd.POINTS):
            points = self.variables["params"][winograd.POINTS]
            y = winograd.convolve_transformed(x, points, taps)
        else:
            shape = (size, size, channels, self.features)
            kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
            y = convolve(x, kernel.astype(self.dtype), taps)
        if self.use_bias:
            bias_init = initial_weights.uniform_bias(size * size * channels)
            bias = self.param("bias", bias_init, (self.features,), jnp.float32)
            y = y + bias.astype(self.dtype).reshape(1, 1, 1, -1)
        return checkpoint_name(y, output_name(*self.path[-2:]))
