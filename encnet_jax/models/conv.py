"""Convolutions with PyTorch's padding."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from encnet_jax.models import initial_weights
from encnet_jax.models.inside import Inside

LANES = 8  # Images that a TPU's convolution lays side by side.


def _as_product(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    return x[:, ::stride, ::stride] @ kernel


def _as_convolution(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x,
        kernel[None, None],
        window_strides=(stride, stride),
        padding="VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def pointwise(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """A 1x1 convolution in the form that suits the platform it is compiled for.

    CPUs run it faster as a matrix product. TPUs lay eight images side by side for a
    convolution, so products between convolutions would change the featuremap's layout
    every time: a tenth of a step's time and memory. Fewer than eight images leave lanes
    empty, and then a product moves fewer bytes there too.

    Args:
        x: [B, H, W, C_in].
        kernel: [C_in, C_out].
        stride: of both sides.

    Returns:
        [B, ceil(H / stride), ceil(W / stride), C_out].
    """
    return _on_platform(lambda form: partial(form, stride=stride), x, kernel)


def _on_platform(make, x, *arrays):
    """Applies make(the form for platform and batch) to x, [B, ...], and arrays."""
    # An exported program's number of images is a symbol: of either form, the one that
    # costs least where it does not suit.
    few = isinstance(x.shape[0], int) and x.shape[0] < LANES
    default = _as_product if few else _as_convolution
    return jax.lax.platform_dependent(
        x, *arrays, cpu=make(_as_product), default=make(default)
    )


def _pointwise_forward(x, kernel, stride):
    return pointwise(x, kernel, stride), (x, kernel)


def _pointwise_backward(stride, inputs, cotangent):
    # Differentiated inside of each form: from outside, both would keep their inputs.
    def make(form):
        def gradients(x, kernel, cotangent):
            return jax.vjp(partial(form, stride=stride), x, kernel)[1](cotangent)

        return gradients

    return _on_platform(make, *inputs, cotangent)


pointwise.defvjp(_pointwise_forward, _pointwise_backward)


class Conv(nn.Module):
    """A square convolution padded by dilation * (kernel_size // 2) on every side.

    Flax's SAME padding is asymmetric at stride 2 and would shift converted PyTorch
    weights by a pixel.

    Params: kernel f32[k, k, C_in, features], drawn by `kernel_init`; bias
    f32[features] if `use_bias`, drawn as PyTorch's.
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

        Outside of `inside`, where it is given, the input counts as zero: what the
        padding is at the border of an image without a canvas around it.
        """
        size = self.kernel_size
        shape = (size, size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        x, kernel = x.astype(self.dtype), kernel.astype(self.dtype)
        if size == 1:
            y = pointwise(x, kernel[0, 0], self.stride)
        else:
            if self.inside is not None:
                x = self.inside.only(x)
            pad = self.dilation * (size // 2)
            y = jax.lax.conv_general_dilated(
                x,
                kernel,
                window_strides=(self.stride, self.stride),
                padding=[(pad, pad), (pad, pad)],
                rhs_dilation=(self.dilation, self.dilation),
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )
        if self.use_bias:
            bias_init = initial_weights.uniform_bias(size * size * shape[2])
            bias = self.param("bias", bias_init, (self.features,), jnp.float32)
            y = y + bias.astype(self.dtype).reshape(1, 1, 1, -1)
        return y
