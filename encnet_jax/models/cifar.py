"""The paper's 14-layer CIFAR-10 networks: pre-activation ResNet, SE-ResNet, EncNet.

Source: Table 6 of the paper.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from encnet_jax.models import cifar_authors
from encnet_jax.models.conv import Conv
from encnet_jax.models.encoding import Encoding
from encnet_jax.models.initial_weights import he_normal_fan_out
from encnet_jax.models.layers import ConvNormRelu
from encnet_jax.models.norm import GroupedAxis, SyncBatchNorm

SE_REDUCTION = 16  # As in the SE paper, which section 3.5 follows.
CODE_REDUCTION = 4  # Ratio of the feature map's channels to the encoded channels.

# MSRA initialisation, as in section 3.5.
_dense_init = nn.initializers.he_normal()
_he_conv = partial(Conv, kernel_init=he_normal_fan_out)


class SqueezeExcitation(nn.Module):
    """Computes a factor for each channel from the global averages of all channels.

    Params: squeeze and expand, two fully connected layers with biases.

    Source: Hu et al., Squeeze-and-Excitation Networks, with a reduction of 16.
    """

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps features [B, H, W, C] to channel factors f32[B, C] in (0, 1)."""
        channels = x.shape[-1]
        squeezed = jnp.mean(x.astype(jnp.float32), axis=(1, 2))
        narrow = max(1, channels // SE_REDUCTION)
        hidden = nn.Dense(narrow, kernel_init=_dense_init, name="squeeze")(squeezed)
        expand = nn.Dense(channels, kernel_init=_dense_init, name="expand")
        return nn.sigmoid(expand(nn.relu(hidden)))


class EncodedScaling(nn.Module):
    """Computes a factor for each channel with an Encoding Layer.

    The layers: a 1x1 convolution to a quarter of the channels, batch norm, ReLU; the
    Encoding Layer; concatenation of the K codes of an image into one vector; division
    of this vector by its Euclidean norm; a fully connected layer; a sigmoid.

    Attributes:
        num_codes: K, number of codewords.
        draw_smoothing: see encoding.Encoding.
        conv, norm: constructors of a convolution and a batch norm.

    Source: section 3.5 of the paper.
    """

    num_codes: int
    draw_smoothing: bool = False
    conv: Any = _he_conv
    norm: Any = SyncBatchNorm

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps features [B, H, W, C] to channel factors f32[B, C] in (0, 1)."""
        channels = x.shape[-1]
        reduce = ConvNormRelu(
            conv=partial(self.conv, channels // CODE_REDUCTION, 1),
            norm=partial(self.norm, train=train),
            name="project",
        )
        encoding = Encoding(self.num_codes, self.draw_smoothing, name="encoding")
        codes = encoding(reduce(x), train)
        joined = codes.reshape(codes.shape[0], -1)
        # 1e-12, because the square root has an infinite gradient at 0.
        length = jnp.sqrt(jnp.sum(joined**2, axis=-1, keepdims=True) + 1e-12)
        dense = nn.Dense(channels, kernel_init=_dense_init, name="attention")
        return nn.sigmoid(dense(joined / length))


class PreactBlock(nn.Module):
    """A pre-activation residual block, optionally with scaled channels.

    Batch norm, ReLU and a 3x3 convolution are applied twice. With `scaling`, each
    channel of the result is multiplied by a factor. Then the shortcut is added: the
    input or, if the shape changes, a 1x1 convolution of the first ReLU's output.

    Attributes:
        channels: channels of the output.
        stride: stride of the first convolution and of the shortcut.
        scaling: constructor of the module that computes the channel factors, such as
            SqueezeExcitation; None for no scaling.
        conv, norm: constructors of a convolution and a batch norm.

    Source: He et al., Identity Mappings in Deep Residual Networks; section 3.5 of
    the EncNet paper.
    """

    channels: int
    stride: int = 1
    scaling: Any = None
    conv: Any = _he_conv
    norm: Any = SyncBatchNorm

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps [B, H, W, C] to [B, ceil(H / stride), ceil(W / stride), channels]."""
        y = nn.relu(self.norm(name="norm1")(x, train))
        if self.stride != 1 or x.shape[-1] != self.channels:
            x = self.conv(self.channels, 1, self.stride, name="shortcut")(y)
        y = self.conv(self.channels, 3, self.stride, name="conv1")(y)
        y = nn.relu(self.norm(name="norm2")(y, train))
        y = self.conv(self.channels, 3, name="conv2")(y)
        if self.scaling is not None:
            factors = self.scaling(name="scaling")(y, train)
            y = y * factors[:, None, None].astype(y.dtype)
        return x + y


class CifarNet(nn.Module):
    """An image classifier of 14 layers, as described in the paper.

    The layers: a 3x3 stem, three stages of two blocks, global average pooling, a linear
    layer.

    Attributes:
        num_classes: C, number of classes.
        width: channels of stage 1 ("64d" in Table 6 of the paper); stages 2 and 3 each
            double the channels and halve the resolution.
        scaling, conv, norm: see PreactBlock.

    Source: section 3.5 of the paper.
    """

    num_classes: int
    width: int = 64
    scaling: Any = None
    conv: Any = _he_conv
    norm: Any = SyncBatchNorm

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """Runs the network.

        Args:
            images: f32[B, H, W, 3], normalised by channel mean and standard deviation.
            train: whether batch norms use batch statistics, and Encoding Layers with
                `draw_smoothing` sample smoothing factors.

        Returns:
            {'logits': f32[B, C]}.
        """
        x = self.conv(self.width, name="stem")(images)
        for stage in (1, 2, 3):
            for block in (1, 2):
                x = PreactBlock(
                    channels=self.width * 2 ** (stage - 1),
                    stride=2 if stage > 1 and block == 1 else 1,
                    scaling=self.scaling,
                    conv=self.conv,
                    norm=self.norm,
                    name=f"stage{stage}_block{block:02d}",
                )(x, train)
        x = nn.relu(self.norm(name="norm")(x, train))
        pooled = jnp.mean(x.astype(jnp.float32), axis=(1, 2))
        dense = nn.Dense(self.num_classes, kernel_init=_dense_init, name="classifier")
        return {"logits": dense(pooled)}


def build(model_config, num_classes: int, axis_name: str | None = None) -> nn.Module:
    """Builds a CifarNet or an AuthorsNet, which classify images of 32x32 pixels.

    Args:
        model_config: `config.model` after `encnet_jax.config.resolve`. `block` is
            'paper' (CifarNet) or 'authors' (AuthorsNet); `name` is one of
            models.CLASSIFIERS.
        num_classes: number of classes.
        axis_name: pmap axis; None for one device. A CifarNet synchronises batch norms
            over the axis, in groups of `model_config.norm_group` devices (0: all
            devices). An AuthorsNet only averages the running statistics of batch norms
            over the axis.
    """
    m = model_config
    if m.block == "authors":
        return cifar_authors.build(m, num_classes, axis_name)
    dtype = jnp.dtype(m.dtype)
    axis = axis_name and GroupedAxis(axis_name, m.norm_group)
    layers: dict[str, Any] = {
        "conv": partial(_he_conv, dtype=dtype),
        "norm": partial(SyncBatchNorm, axis, dtype=dtype),
    }
    scaling = {
        "resnet": None,
        "se_resnet": SqueezeExcitation,
        "encnet": partial(EncodedScaling, m.num_codes, m.draw_smoothing, **layers),
    }[m.name]
    return CifarNet(num_classes, m.width, scaling, **layers)
