"""Convolutions with PyTorch's padding, and the convolution-norm-ReLU unit."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from encnet_jax.models.norm import SyncBatchNorm

he_normal_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class Conv(nn.Module):
    """A square convolution padded by dilation * (kernel_size // 2) on every side.

    Flax's SAME padding is asymmetric at stride 2 and would shift converted PyTorch
    weights by a pixel. A 1x1 convolution is one matrix product, which XLA runs faster
    on CPUs than its convolution.

    Params: kernel f32[k, k, C_in, features]; bias f32[features] if `use_bias`.
    """

    features: int
    kernel_size: int = 3
    stride: int = 1
    dilation: int = 1
    use_bias: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C_in] to [B, ceil(H / stride), ceil(W / stride), features]."""
        size = self.kernel_size
        shape = (size, size, x.shape[-1], self.features)
        kernel = self.param("kernel", he_normal_fan_out, shape, jnp.float32)
        x, kernel = x.astype(self.dtype), kernel.astype(self.dtype)
        if size == 1:
            y = x[:, :: self.stride, :: self.stride] @ kernel[0, 0]
        else:
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
            bias = self.param(
                "bias", nn.initializers.zeros, (self.features,), jnp.float32
            )
            y = y + bias.astype(self.dtype)
        return y


class ConvNormRelu(nn.Module):
    """Convolution without bias, batch normalisation, ReLU: submodules conv and norm."""

    features: int
    kernel_size: int = 3
    stride: int = 1
    dilation: int = 1
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps [B, H, W, C_in] to [B, ceil(H / stride), ceil(W / stride), features]."""
        x = Conv(
            self.features,
            self.kernel_size,
            self.stride,
            self.dilation,
            dtype=self.dtype,
            name="conv",
        )(x)
        return nn.relu(
            SyncBatchNorm(self.axis_name, dtype=self.dtype, name="norm")(x, train)
        )
