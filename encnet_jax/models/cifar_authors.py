"""The CIFAR-10 networks of the authors' code, which differ from those in the paper.

Source: experiments/recognition of PyTorch-Encoding, commit f891919 (September 2018):
model/resnet.py, model/encnet.py and, with sampled smoothing factors,
model/encnetdrop.py.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from encnet_jax.models.conv import Conv
from encnet_jax.models.device_norm import DeviceBatchNorm
from encnet_jax.models.encoding import Encoding
from encnet_jax.models.initial_weights import uniform_bias, uniform_kernel
from encnet_jax.models.residual import relu_of_sum

CODE_REDUCTION = 4  # Ratio of the feature map's channels to the encoded channels.
_MIN_LENGTH = 1e-8


def _dense(x: jax.Array, features: int, name: str) -> jax.Array:
    dense = nn.Dense(
        features,
        kernel_init=uniform_kernel,
        bias_init=uniform_bias(x.shape[-1]),
        name=name,
    )
    return dense(x)


def unit_vectors(codes: jax.Array) -> jax.Array:
    """Concatenates the codes of each image and divides each result by its norm.

    The norm is the Euclidean norm; norms below 1e-8 are replaced by 1e-8.

    Args:
        codes: [B, K, D], K codes for each image.

    Returns:
        [B, K * D], one vector for each image.
    """
    joined = codes.reshape(codes.shape[0], -1)
    # The limit is inside the square root, whose gradient is infinite at 0.
    square = jnp.sum(joined**2, axis=-1, keepdims=True)
    return joined / jnp.sqrt(jnp.maximum(square, _MIN_LENGTH**2))


class EncodedGate(nn.Module):
    """Computes a factor for each channel with an Encoding Layer.

    The layers: a 1x1 convolution, with a bias, that reduces the channels to a
    quarter; batch norm; ReLU; the Encoding Layer; concatenation of the K codes of an
    image into one vector; division of this vector by its Euclidean norm; a fully
    connected layer; a sigmoid.

    Attributes:
        num_codes: K, number of codewords.
        draw_smoothing: see encoding.Encoding. The authors' code samples separate
            smoothing factors on every GPU and again in the backward pass; here the
            factors are the same on all devices and in both passes.
        conv, norm: constructors of a convolution and a batch norm.
    """

    num_codes: int
    draw_smoothing: bool
    conv: Any
    norm: Any

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps features [B, H, W, C] to channel factors f32[B, C] in (0, 1)."""
        channels = x.shape[-1]
        reduce = self.conv(channels // CODE_REDUCTION, 1, use_bias=True, name="project")
        features = nn.relu(self.norm(name="norm")(reduce(x), train))
        encoding = Encoding(self.num_codes, self.draw_smoothing, name="encoding")
        unit = unit_vectors(encoding(features, train))
        return nn.sigmoid(_dense(unit, channels, "attention"))


class EncNetBlock(nn.Module):
    """A residual block with a gate, which multiplies each channel by a factor.

    The layers: 3x3 convolution, batch norm, ReLU, 3x3 convolution, batch norm, gate,
    sum with the shortcut, ReLU.

    Attributes:
        channels: channels of the output.
        stride: stride of the first convolution and of the shortcut.
        conv, norm: constructors of a convolution and a batch norm.
        gate: constructor of an EncodedGate.
    """

    channels: int
    stride: int
    conv: Any
    norm: Any
    gate: Any

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps [B, H, W, C] to [B, ceil(H / stride), ceil(W / stride), channels]."""
        y = self.conv(self.channels, 3, self.stride, name="conv1")(x)
        y = nn.relu(self.norm(name="norm1")(y, train))
        y = self.conv(self.channels, 3, name="conv2")(y)
        y = self.norm(name="norm2")(y, train)
        factors = self.gate(name="scaling")(y, train)
        y = y * factors[:, None, None].astype(y.dtype)
        return relu_of_sum(y, _shortcut(self, x))


class ResNetBlock(nn.Module):
    """A pre-activation residual block.

    Batch norm, ReLU and a 3x3 convolution are applied twice; then the shortcut is
    added.

    Attributes:
        channels, stride, conv, norm: see EncNetBlock.
    """

    channels: int
    stride: int
    conv: Any
    norm: Any

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps [B, H, W, C] to [B, ceil(H / stride), ceil(W / stride), channels]."""
        y = nn.relu(self.norm(name="norm1")(x, train))
        y = self.conv(self.channels, 3, self.stride, name="conv1")(y)
        y = nn.relu(self.norm(name="norm2")(y, train))
        y = self.conv(self.channels, 3, name="conv2")(y)
        return y + _shortcut(self, x)


def _shortcut(block: EncNetBlock | ResNetBlock, x: jax.Array) -> jax.Array:
    """Returns x, or a 1x1 convolution of x if the block changes the shape."""
    if block.stride == 1 and x.shape[-1] == block.channels:
        return x
    conv = block.conv(block.channels, 1, block.stride, use_bias=True, name="shortcut")
    return conv(x)


class AuthorsNet(nn.Module):
    """An image classifier of 14 layers, as in the authors' code.

    The layers: a 3x3 stem, three stages of two blocks, global average pooling, a linear
    layer.

    Attributes:
        num_classes: C, number of classes.
        width: channels of stage 1; stages 2 and 3 each double the channels and halve
            the resolution.
        block: constructor of an EncNetBlock or a ResNetBlock.
        conv, norm: constructors of a convolution and a batch norm.
    """

    num_classes: int
    width: int
    block: Any
    conv: Any
    norm: Any

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """Runs the network.

        Args:
            images: f32[B, H, W, 3], normalised by channel mean and standard deviation.
            train: if True, batch norms use batch statistics, and Encoding Layers with
                `draw_smoothing` sample their smoothing factors.

        Returns:
            {'logits': f32[B, C]}.
        """
        stem = self.conv(self.width, use_bias=True, name="stem")
        x = nn.relu(self.norm(name="stem_norm")(stem(images), train))
        for stage in (1, 2, 3):
            for block in (1, 2):
                x = self.block(
                    channels=self.width * 2 ** (stage - 1),
                    stride=2 if stage > 1 and block == 1 else 1,
                    name=f"stage{stage}_block{block:02d}",
                )(x, train)
        x = nn.relu(self.norm(name="norm")(x, train))
        wide = np.promote_types(x.dtype, np.float32)
        pooled = jnp.mean(x.astype(wide), axis=(1, 2))
        return {"logits": _dense(pooled, self.num_classes, "classifier")}


def build(model_config, num_classes: int, axis_name: str | None = None) -> AuthorsNet:
    """Builds an AuthorsNet, which classifies images of 32x32 pixels.

    Args:
        model_config: `config.model` after `encnet_jax.config.resolve`; `name` is
            'resnet' or 'encnet'.
        num_classes: number of classes.
        axis_name: pmap axis over which batch norms average their running statistics;
            None for one device.
    """
    m = model_config
    dtype = jnp.dtype(m.dtype)
    layers: dict[str, Any] = {
        "conv": partial(Conv, kernel_init=uniform_kernel, dtype=dtype),
        "norm": partial(DeviceBatchNorm, axis_name, dtype=dtype),
    }
    if m.name == "resnet":
        block: Callable[..., nn.Module] = partial(ResNetBlock, **layers)
    else:
        gate = partial(EncodedGate, m.num_codes, m.draw_smoothing, **layers)
        block = partial(EncNetBlock, gate=gate, **layers)
    return AuthorsNet(num_classes, m.width, block, **layers)
