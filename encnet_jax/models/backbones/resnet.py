"""ResNet backbones, with optional dilation and one of two stems."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax

from encnet_jax.models.backbones import BACKBONES
from encnet_jax.models.dilation import plan_stages
from encnet_jax.models.initial_weights import he_normal_fan_out
from encnet_jax.models.layers import Layers
from encnet_jax.models.pooling import max_pool
from encnet_jax.models.rematerialisation import run
from encnet_jax.models.residual import relu_of_sum


class BackboneSpec(NamedTuple):
    """The depth, the width and the block type of a residual network.

    Attributes:
        blocks: number of blocks in each stage.
        bottleneck: whether the blocks are bottlenecks.
        width: channels of the 3x3 convolutions of stage 1.
    """

    blocks: tuple[int, int, int, int]
    bottleneck: bool
    width: int = 64

    @property
    def out_channels(self) -> int:
        """The number of channels of stage 4."""
        return self.width * 8 * (4 if self.bottleneck else 1)


class Block(nn.Module):
    """A residual block, either plain or a bottleneck.

    A plain block has two 3x3 convolutions; a bottleneck has a 1x1, a 3x3 and a 1x1
    convolution.

    Attributes:
        width: channels of the 3x3 convolutions.
        bottleneck: whether the block is a bottleneck. The output of a bottleneck has
            four times `width` channels.
        stride: stride of the block, which the first 3x3 convolution applies unless
            `stride_first` is set.
        first_dilation: dilation rate of the first 3x3 convolution.
        dilation: dilation rate of the second 3x3 convolution of a plain block.
        stride_first: whether a bottleneck applies the stride in its first 1x1
            convolution instead of its 3x3 convolution.
        avg_down: whether the shortcut applies the stride by average pooling instead of
            a strided 1x1 convolution.
    """

    width: int
    bottleneck: bool
    layers: Layers
    stride: int = 1
    first_dilation: int = 1
    dilation: int = 1
    avg_down: bool = False
    stride_first: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, ceil(H / stride), ceil(W / stride), C_out]."""
        if self.bottleneck:
            first, second = (self.stride, 1)[:: 1 if self.stride_first else -1]
            layers = [(1, first, 1), (3, second, self.first_dilation), (1, 1, 1)]
        else:
            layers = [(3, self.stride, self.first_dilation), (3, 1, self.dilation)]
        out_channels = self.width * (4 if self.bottleneck else 1)
        y = x
        for i, (size, stride, dilation) in enumerate(layers, 1):
            last = i == len(layers)
            channels = out_channels if last else self.width
            y = self.layers.conv(channels, size, stride, dilation, name=f"conv{i}")(y)
            y = self.layers.norm(name=f"norm{i}")(y)
            if not last:
                y = nn.relu(y)
        if self.stride != 1 or x.shape[-1] != out_channels:
            x = self._shortcut(x, out_channels)
        return relu_of_sum(x, y)

    def _shortcut(self, x: jax.Array, channels: int) -> jax.Array:
        stride = self.stride
        if self.avg_down and stride != 1:
            x = self.layers.average_pool(x, stride)
            stride = 1
        x = self.layers.conv(channels, 1, stride, name="shortcut_conv")(x)
        return self.layers.norm(name="shortcut_norm")(x)


class Stem(nn.Module):
    """The first layers of a ResNet; they divide an image's height and width by 4.

    Attributes:
        kind: 'deep' (three 3x3 convolutions) or 'conv7' (one 7x7 convolution).
        width: channels of the first convolution.
        padded_pool: whether the max pooling pads its input; without this padding, the
            output has one row and one column less.
    """

    kind: str
    width: int
    layers: Layers
    padded_pool: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps images [B, H, W, 3] to [B, ceil(H / 4), ceil(W / 4), C].

        If `padded_pool` is False, the output has one row and one column less.
        """
        if self.kind == "deep":
            layers = [(self.width, 3, 2), (self.width, 3, 1), (2 * self.width, 3, 1)]
        else:
            layers = [(self.width, 7, 2)]
        for i, (channels, size, stride) in enumerate(layers, 1):
            x = self.layers.unit(channels, size, stride, name=f"layer{i}")(x)
        # Zeros outside the image are never the maximum: the inputs are ReLU outputs.
        x = self.layers.only_inside(x)
        return max_pool(x, border=int(self.padded_pool))


class ResNet(nn.Module):
    """A ResNet backbone, whose last stages can be dilated instead of strided.

    Attributes:
        spec: depth, width and block type.
        stem: 'deep' (three 3x3 convolutions) or 'conv7' (one 7x7 convolution).
        stem_width: channels of the stem's first convolution; the last convolution of a
            deep stem has twice as many.
        output_stride: 8: stages 3 and 4 are dilated instead of strided; 16: only stage
            4; 32: none.
        dilation: rates of the dilated stages; see dilation.plan_stages.
        avg_down, stride_first: see Block.
        padded_pool: see Stem.
        remat: whether to recompute blocks in the backward pass; see
            rematerialisation.py.

    Source: section 3.1 of the EncNet paper.
    """

    spec: BackboneSpec
    layers: Layers
    stem: str = "deep"
    stem_width: int = 64
    output_stride: int = 8
    dilation: str | tuple[tuple[int, ...], ...] = "plain"
    avg_down: bool = False
    stride_first: bool = False
    padded_pool: bool = True
    remat: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, branch: str = "") -> dict[str, jax.Array]:
        """Maps images f[B, H, W, 3] to feature maps {'stage1': [B, h, w, C], ...}.

        For stage 4, h = ceil(H / output_stride). H and W can be any whole numbers.

        Args:
            x: normalised images.
            branch: prefix of the module names in stage 4. Each prefix has its own
                weights of stage 4; the weights of all other stages are shared.
        """
        stages = {}
        for stage, modules in enumerate(self._modules(branch), 1):
            x = run(self, modules, x, stage, self.spec.bottleneck, self.remat)
            stages[f"stage{stage}"] = x
        return stages

    def _modules(self, branch: str) -> list[list[partial]]:
        """Returns the constructors of each stage's modules; the stem is in stage 1."""
        layers = self.layers.initialised_by(he_normal_fan_out)
        stem = partial(
            Stem, self.stem, self.stem_width, layers, self.padded_pool, name="stem"
        )
        stages: list[list[partial]] = []
        plan = plan_stages(self.spec.blocks, self.output_stride, self.dilation)
        for stage, (stride, rates) in enumerate(plan, 1):
            prefix = f"{branch if stage == 4 else ''}stage{stage}"
            blocks: list[partial] = [
                partial(
                    Block,
                    width=self.spec.width * 2 ** (stage - 1),
                    bottleneck=self.spec.bottleneck,
                    layers=layers,
                    stride=stride if block == 1 else 1,
                    first_dilation=first_rate,
                    dilation=rate,
                    avg_down=self.avg_down,
                    stride_first=self.stride_first,
                    name=f"{prefix}_block{block:02d}",
                )
                for block, (first_rate, rate) in enumerate(rates, 1)
            ]
            stages.append([stem, *blocks] if stage == 1 else blocks)
        return stages


@BACKBONES.register(
    "tiny", blocks=(1, 1, 1, 1), channels=(16, 32, 64, 128), bottleneck=False
)
@BACKBONES.register(
    "resnet18", blocks=(2, 2, 2, 2), channels=(64, 128, 256, 512), bottleneck=False
)
@BACKBONES.register(
    "resnet34", blocks=(3, 4, 6, 3), channels=(64, 128, 256, 512), bottleneck=False
)
@BACKBONES.register(
    "resnet50", blocks=(3, 4, 6, 3), channels=(256, 512, 1024, 2048), bottleneck=True
)
@BACKBONES.register(
    "resnet101", blocks=(3, 4, 23, 3), channels=(256, 512, 1024, 2048), bottleneck=True
)
@BACKBONES.register(
    "resnet152", blocks=(3, 8, 36, 3), channels=(256, 512, 1024, 2048), bottleneck=True
)
def build(m) -> Callable[..., nn.Module]:
    """Returns the constructor of a ResNet with the options of `config.model`."""
    return partial(
        ResNet,
        specs()[m.backbone],
        stem=m.stem,
        stem_width=m.stem_width,
        output_stride=m.output_stride,
        dilation=m.dilation,
        avg_down=m.avg_down,
        stride_first=m.stride_first,
        padded_pool=m.padded_pool,
        remat=m.remat,
    )


def specs() -> dict[str, BackboneSpec]:
    """Returns {name: BackboneSpec} for all registered ResNet backbones."""
    found = {}
    for name in BACKBONES:
        facts = BACKBONES.registration(name).facts
        if "bottleneck" in facts:
            widening = 4 if facts["bottleneck"] else 1
            width = facts["channels"][0] // widening
            found[name] = BackboneSpec(facts["blocks"], facts["bottleneck"], width)
    return found
