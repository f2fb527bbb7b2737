"""The ConvNeXt-T backbone, with optional dilation."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from encnet_jax.models.backbones import BACKBONES
from encnet_jax.models.dilation import plan_stages
from encnet_jax.models.layers import Layers
from encnet_jax.models.rematerialisation import run

_init = nn.initializers.truncated_normal(0.02)
_norm = partial(nn.LayerNorm, epsilon=1e-6)


class Conv(nn.Module):
    """A convolution with bias; optionally depthwise, dilated or strided.

    Attributes:
        features: channels of the output.
        size: height and width of the kernel.
        layers: see Layers; the input is set to zero outside of `layers.inside`.
        stride: 1 or `size`; with `size`, kernel positions do not overlap.
        rate: dilation rate.
        depthwise: whether each channel has its own kernel. Depthwise kernels are
            centred at the output position; the top left corner of all other kernels is
            at the output position.

    Params: kernel f32[size, size, C_in, features], where C_in is 1 if depthwise; bias
    f32[features].
    """

    features: int
    size: int
    layers: Layers
    stride: int = 1
    rate: int = 1
    depthwise: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, ceil(H / stride), ceil(W / stride), features]."""
        inputs = 1 if self.depthwise else x.shape[-1]
        shape = (self.size, self.size, inputs, self.features)
        kernel = self.param("kernel", _init, shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, shape[3:], jnp.float32)
        reach = self.rate * (self.size - 1)
        above = reach // 2 if self.depthwise else 0
        padding = [
            (above, reach - above if self.stride == 1 else -side % self.stride)
            for side in x.shape[1:3]
        ]
        y = jax.lax.conv_general_dilated(
            self.layers.only_inside(x),
            kernel.astype(x.dtype),
            window_strides=(self.stride,) * 2,
            padding=padding,
            rhs_dilation=(self.rate,) * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=self.features if self.depthwise else 1,
        )
        return y + bias.astype(x.dtype).reshape(1, 1, 1, -1)


class Entry(nn.Module):
    """The layers of a ConvNeXt stage before the residual blocks.

    Stage 1 has the stem: a 4x4 convolution with stride 4, then LayerNorm. Later stages
    have LayerNorm, then a 2x2 convolution.

    Attributes:
        features: channels of the output.
        stem: whether to build the stem.
        stride: stride of the 2x2 convolution.
        rate: dilation rate of the 2x2 convolution.

    Params: conv, the convolution; norm, the LayerNorm.
    """

    features: int
    layers: Layers
    stem: bool = False
    stride: int = 2
    rate: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, ceil(H / s), ceil(W / s), features].

        s is 4 in the stem and `stride` in later stages.
        """
        norm = _norm(dtype=x.dtype, name="norm")
        if self.stem:
            return norm(Conv(self.features, 4, self.layers, 4, name="conv")(x))
        conv = Conv(self.features, 2, self.layers, self.stride, self.rate, name="conv")
        return conv(norm(x))


class Block(nn.Module):
    """A residual block of ConvNeXt.

    The layers: depthwise 7x7 convolution, LayerNorm, two linear layers with GELU
    between them, layer scale, sum with the input.

    Attributes:
        rate: dilation rate of the depthwise convolution.

    Params: conv; norm; expand and project, the linear layers; gamma f32[C], the layer
    scale.
    """

    layers: Layers
    rate: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to an output of the same shape."""
        channels = x.shape[-1]
        dense = partial(nn.Dense, kernel_init=_init, dtype=x.dtype)
        y = Conv(channels, 7, self.layers, 1, self.rate, True, name="conv")(x)
        y = _norm(dtype=x.dtype, name="norm")(y)
        y = nn.gelu(dense(4 * channels, name="expand")(y), approximate=False)
        y = dense(channels, name="project")(y)
        scale = nn.initializers.constant(1e-6)
        gamma = self.param("gamma", scale, (channels,), jnp.float32)
        return x + y * gamma.astype(x.dtype).reshape(1, 1, 1, -1)


class ConvNeXt(nn.Module):
    """A ConvNeXt-T backbone, whose last stages can be dilated instead of strided.

    Attributes:
        blocks: number of blocks in each stage.
        width: channels of stage 1; each later stage doubles the channels.
        output_stride: 8: stages 3 and 4 are dilated instead of strided; 16: only stage
            4; 32: none.
        dilation: rates of the dilated stages; see dilation.plan_stages.
        remat: whether to recompute blocks in the backward pass; see
            rematerialisation.py.

    Source: Liu et al., CVPR 2022; layers as in timm's convnext_tiny, with two
    deviations. (1) timm pads the dilated 2x2 convolutions at all edges, which shifts
    the features; here a dilated network computes the same features as the undilated
    network, at more positions. (2) timm drops the last rows or columns if the height or
    width is not a multiple of 32; here the sizes of feature maps are rounded up.
    """

    layers: Layers
    blocks: tuple[int, int, int, int] = (3, 3, 9, 3)
    width: int = 96
    output_stride: int = 8
    dilation: str | tuple[tuple[int, ...], ...] = "plain"
    remat: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, branch: str = "") -> dict[str, jax.Array]:
        """Maps images f[B, H, W, 3] to feature maps {'stage1': [B, h, w, C], ...}.

        For stage 4, h = ceil(H / output_stride).

        Args:
            x: normalised images.
            branch: prefix of the module names in stage 4. Each prefix has its own
                weights of stage 4; the weights of all other stages are shared.
        """
        stages = {}
        for stage, modules in enumerate(self._modules(branch), 1):
            x = run(self, modules, x, stage, deep=False, remat=self.remat)
            stages[f"stage{stage}"] = x
        return stages

    def _modules(self, branch: str) -> list[list[partial]]:
        """Returns the constructors of the modules of each stage."""
        stages: list[list[partial]] = []
        # Distance here between positions that are neighbours in the undilated network.
        distance = 1
        plan = plan_stages(self.blocks, self.output_stride, self.dilation)
        for stage, (stride, rates) in enumerate(plan, 1):
            prefix = f"{branch if stage == 4 else ''}stage{stage}"
            entry = partial(
                Entry,
                self.width * 2 ** (stage - 1),
                self.layers,
                stage == 1,
                stride,
                distance,
                name="stem" if stage == 1 else f"{prefix}_entry",
            )
            blocks = [
                # The entry's 2x2 convolution uses `distance`, the lower rate.
                partial(Block, self.layers, rate, name=f"{prefix}_block{i:02d}")
                for i, (_, rate) in enumerate(rates, 1)
            ]
            stages.append([entry, *blocks])
            distance *= 2 if stage > 1 and stride == 1 else 1
        return stages


@BACKBONES.register(
    "convnext_tiny",
    blocks=(3, 3, 9, 3),
    channels=(96, 192, 384, 768),
    weight_files=(
        {
            "family": "timm_convnext",
            "title": "timm's convnext_tiny",
            "recognised_by": ("stem.0.weight", "stages.0.blocks.0.gamma"),
            "names": {"stem/conv": "stem.0", "stem/norm": "stem.1"}
            | {
                rf"(scale\d_)?stage{stage}_{ours}": f"stages.{stage - 1}.{theirs}"
                for stage in (1, 2, 3, 4)
                for ours, theirs in (
                    ("entry/norm", "downsample.0"),
                    ("entry/conv", "downsample.1"),
                    (r"block(?P<block>\d+)", "blocks.{block}"),
                    (r"block(?P<block>\d+)/conv", "blocks.{block}.conv_dw"),
                    (r"block(?P<block>\d+)/norm", "blocks.{block}.norm"),
                    (r"block(?P<block>\d+)/expand", "blocks.{block}.mlp.fc1"),
                    (r"block(?P<block>\d+)/project", "blocks.{block}.mlp.fc2"),
                )
            },
            "left_out": r"head\.(norm|fc)\.(weight|bias)",
        },
    ),
)
def build(m) -> Callable[..., nn.Module]:
    """Returns the constructor of a ConvNeXt with the options of `config.model`."""
    return partial(
        ConvNeXt, output_stride=m.output_stride, dilation=m.dilation, remat=m.remat
    )
