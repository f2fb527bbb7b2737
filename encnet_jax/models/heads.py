"""Segmentation heads: FCN, EncNet, PSPNet, DeepLabV3."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from encnet_jax.models.context import ContextEncoding
from encnet_jax.models.conv import Conv, ConvNormRelu
from encnet_jax.models.resize import apply_rows_and_columns, resize_bilinear


class Classifier(nn.Module):
    """Dropout and a 1x1 convolution to class logits, which leave as float32."""

    num_classes: int
    dropout: float = 0.1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps [B, h, w, C] to f32[B, h, w, num_classes]."""
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = Conv(self.num_classes, 1, use_bias=True, dtype=self.dtype, name="conv")(x)
        return x.astype(jnp.float32)


class FCNHead(nn.Module):
    """3x3 convolutions and a classifier: the paper's baseline.

    Attributes:
        channels: of the 3x3 convolutions.
        num_convs: how many of them.
        concat_input: join the input to their output through one more 3x3 convolution.
    """

    num_classes: int
    channels: int = 512
    num_convs: int = 1
    concat_input: bool = False
    dropout: float = 0.1
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps [B, h, w, C] to f32[B, h, w, num_classes]."""
        shared = {"axis_name": self.axis_name, "dtype": self.dtype}
        y = x
        for i in range(1, self.num_convs + 1):
            y = ConvNormRelu(self.channels, name=f"conv{i}", **shared)(y, train)
        if self.concat_input:
            y = jnp.concatenate([x, y], axis=-1)
            y = ConvNormRelu(self.channels, name="conv_concat", **shared)(y, train)
        return Classifier(
            self.num_classes, self.dropout, self.dtype, name="classifier"
        )(y, train)


class EncHead(nn.Module):
    """A 3x3 convolution, optional lateral fusion, the Context Encoding Module, logits.

    Attributes:
        channels: 512 in the paper.
        lateral: fuse stages 2 and 3 (of output stride 8 all) into the input.
        num_codes, code_pooling, gate: see ContextEncoding.
        se_loss: whether to return class-presence logits.

    Source: Figure 2 of the paper; lateral connections from the released code.
    """

    num_classes: int
    channels: int = 512
    lateral: bool = False
    num_codes: int = 32
    code_pooling: str = "sum"
    gate: str = "scale"
    se_loss: bool = True
    dropout: float = 0.1
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, stages: dict[str, jax.Array], train: bool
    ) -> tuple[jax.Array, jax.Array | None]:
        """Maps stages to (f32[B, h, w, C] logits, f32[B, C] presence or None)."""
        shared = {"axis_name": self.axis_name, "dtype": self.dtype}
        x = ConvNormRelu(self.channels, name="conv", **shared)(stages["stage4"], train)
        if self.lateral:
            branches = [x]
            for stage in ("stage2", "stage3"):
                lateral = ConvNormRelu(
                    self.channels, 1, name=f"lateral_{stage}", **shared
                )
                branches.append(lateral(stages[stage], train))
            x = jnp.concatenate(branches, axis=-1)
            x = ConvNormRelu(self.channels, name="fusion", **shared)(x, train)
        x, se_logits = ContextEncoding(
            num_codes=self.num_codes,
            code_pooling=self.code_pooling,
            gate=self.gate,
            se_classes=self.num_classes if self.se_loss else 0,
            name="context",
            **shared,
        )(x, train)
        classifier = Classifier(
            self.num_classes, self.dropout, self.dtype, name="classifier"
        )
        return classifier(x, train), se_logits


class ContextAuxHead(nn.Module):
    """A Context Encoding Module on stage 3 of which only the SE branch is used.

    Source: section 2.1 of the paper, which does not give the width; 256 is our choice.
    """

    num_classes: int
    channels: int = 256
    num_codes: int = 32
    code_pooling: str = "sum"
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps [B, h, w, C] to f32[B, num_classes] presence logits."""
        shared = {"axis_name": self.axis_name, "dtype": self.dtype}
        x = ConvNormRelu(self.channels, name="conv", **shared)(x, train)
        _, se_logits = ContextEncoding(
            num_codes=self.num_codes,
            code_pooling=self.code_pooling,
            gate="none",
            se_classes=self.num_classes,
            name="context",
            **shared,
        )(x, train)
        return se_logits


def adaptive_pool_matrix(out_size: int, in_size: int) -> np.ndarray:
    """Returns f32[out_size, in_size]; row i averages floor(i s) .. ceil((i + 1) s) - 1.

    s = in_size / out_size, so neighbouring cells may share a sample, as in PyTorch.
    """
    matrix = np.zeros((out_size, in_size), np.float32)
    for i in range(out_size):
        start = i * in_size // out_size
        stop = -(-(i + 1) * in_size // out_size)
        matrix[i, start:stop] = 1.0 / (stop - start)
    return matrix


class PSPHead(nn.Module):
    """Pyramid pooling at 1, 2, 3 and 6 cells, then an FCN head (PSPNet).

    Source: Zhao et al., CVPR 2017; widths as in the released baselines of EncNet.
    """

    num_classes: int
    channels: int = 512
    align_corners: bool = True
    dropout: float = 0.1
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps [B, h, w, C] to f32[B, h, w, num_classes]."""
        shared = {"axis_name": self.axis_name, "dtype": self.dtype}
        height, width = x.shape[1:3]
        branches = [x]
        for cells in (1, 2, 3, 6):
            pooled = apply_rows_and_columns(
                x,
                jnp.asarray(adaptive_pool_matrix(cells, height)),
                jnp.asarray(adaptive_pool_matrix(cells, width)),
            )
            pooled = ConvNormRelu(self.channels, 1, name=f"pool{cells}", **shared)(
                pooled, train
            )
            branches.append(resize_bilinear(pooled, height, width, self.align_corners))
        x = ConvNormRelu(self.channels, name="conv", **shared)(
            jnp.concatenate(branches, axis=-1), train
        )
        return Classifier(
            self.num_classes, self.dropout, self.dtype, name="classifier"
        )(x, train)


class DeepLabV3Head(nn.Module):
    """Atrous spatial pyramid pooling with rates 12, 24, 36, then a 3x3 convolution.

    Attributes:
        channels: of every convolution.
        concat_input: the 3x3 convolution reads the concatenated branches as they are
            (mmsegmentation) instead of their 1x1 projection (the paper).

    Source: Chen et al., arXiv 1706.05587; widths as in the released baselines of
    EncNet.
    """

    num_classes: int
    channels: int = 256
    concat_input: bool = False
    dropout: float = 0.1
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps [B, h, w, C] to f32[B, h, w, num_classes]."""
        shared = {"axis_name": self.axis_name, "dtype": self.dtype}
        branches = [ConvNormRelu(self.channels, 1, name="rate1", **shared)(x, train)]
        for rate in (12, 24, 36):
            branch = ConvNormRelu(
                self.channels, dilation=rate, name=f"rate{rate}", **shared
            )
            branches.append(branch(x, train))
        pooled = jnp.mean(x.astype(jnp.float32), axis=(1, 2), keepdims=True)
        pooled = ConvNormRelu(self.channels, 1, name="image", **shared)(pooled, train)
        branches.append(jnp.broadcast_to(pooled, branches[0].shape))
        x = jnp.concatenate(branches, axis=-1)
        if not self.concat_input:
            x = ConvNormRelu(self.channels, 1, name="project", **shared)(x, train)
            # Whole channels are dropped here, as in the released code.
            x = nn.Dropout(0.5, broadcast_dims=(1, 2), deterministic=not train)(x)
        x = ConvNormRelu(self.channels, name="conv", **shared)(x, train)
        return Classifier(
            self.num_classes, self.dropout, self.dtype, name="classifier"
        )(x, train)
