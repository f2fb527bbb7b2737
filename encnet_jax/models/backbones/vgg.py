"""The VGG-16 backbone, with optional dilation."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from encnet_jax.fields import FLAG, Field
from encnet_jax.models.backbones import BACKBONES
from encnet_jax.models.dilation import plan_stages
from encnet_jax.models.initial_weights import he_normal_fan_out
from encnet_jax.models.layers import Layers
from encnet_jax.models.rematerialisation import run

_STAGES = (3, 3, 3, 1)  # Convolutions of blocks 3 to 5, and fc6.
_CHANNELS = (4, 8, 8, 64)  # Channels of the same blocks, in multiples of the width.


class Block(nn.Module):
    """A block of VGG-16: optional 2x2 max pooling, then convolutions with ReLU.

    Attributes:
        channels: channels of each convolution.
        rates: dilation rate of each convolution.
        pool: stride of the max pooling; 0 for no pooling.
        pool_rate: dilation rate of the max pooling.
        kernel_size: height and width of the convolutions' kernels.
    """

    channels: int
    rates: tuple[int, ...]
    layers: Layers
    pool: int = 2
    pool_rate: int = 1
    kernel_size: int = 3

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, H, W, C] to [B, ceil(H / pool), ceil(W / pool), channels].

        Without pooling, H and W do not change.
        """
        if self.pool:
            # Zeros outside the image are never the maximum: inputs are ReLU outputs.
            x = _max_pool(self.layers.only_inside(x), self.pool, self.pool_rate)
        for i, rate in enumerate(self.rates, 1):
            conv = self.layers.conv(
                self.channels, self.kernel_size, 1, rate, use_bias=True, name=f"conv{i}"
            )
            x = nn.relu(conv(x))
        return x


def _max_pool(x: jax.Array, stride: int, rate: int) -> jax.Array:
    """Applies 2x2 max pooling; the output's height and width are rounded up.

    Args:
        x: [B, H, W, C], without negative values.
        stride: 1 or 2; a stride of 2 requires rate 1.
        rate: dilation rate.
    """
    height, width = x.shape[1:3]
    if stride == 2:
        pads = ((0, height % 2), (0, width % 2))
        return nn.max_pool(x, (2, 2), (2, 2), pads)
    x = jnp.pad(x, ((0, 0), (0, rate), (0, rate), (0, 0)))
    rows = jnp.maximum(x[:, :height], x[:, rate:])
    return jnp.maximum(rows[:, :, :width], rows[:, :, rate:])


class VGG(nn.Module):
    """VGG-16 up to block 5 or, if `fc6` is set, up to the first fully connected layer.

    The feature maps 'block1', 'block2', 'stage1', 'stage2' and 'stage3' are the outputs
    of blocks 1 to 5, before the next pooling. 'stage4' is 'stage3' after max pooling
    and, if `fc6` is set, a 7x7 convolution.

    Attributes:
        width: channels of block 1.
        fc6: whether to add the first fully connected layer, as a 7x7 convolution with
            64 times `width` output channels.
        output_stride: 8: the poolings after blocks 4 and 5 have stride 1; 16: only the
            pooling after block 5; 32: none. Layers after a pooling with stride 1 are
            dilated.
        dilation: rates of the dilated layers; see dilation.plan_stages.
        remat: whether to recompute blocks in the backward pass; see
            rematerialisation.py.

    Source: Simonyan and Zisserman, ICLR 2015, configuration D; layers as in
    torchvision's vgg16. If the height or width is odd, torchvision's pooling drops the
    last row or column; here sizes are rounded up, as everywhere in this package.
    """

    layers: Layers
    width: int = 64
    fc6: bool = False
    output_stride: int = 8
    dilation: str | tuple[tuple[int, ...], ...] = "plain"
    remat: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, branch: str = "") -> dict[str, jax.Array]:
        """Maps images f[B, H, W, 3] to feature maps {'block1': [B, h, w, C], ...}.

        The other feature maps are 'block2' and 'stage1' to 'stage4'. Sizes are rounded
        up: for stage 4, h = ceil(H / output_stride).

        Args:
            x: normalised images.
            branch: prefix of the module names in stage 4. Each prefix has its own
                weights of stage 4; the weights of all other stages are shared.
        """
        stages = {}
        for stage, modules in enumerate(self._modules(branch), 1):
            for make in modules:
                x = run(self, [make], x, stage, deep=False, remat=self.remat)
                if make is not modules[-1]:
                    stages[make.keywords["name"]] = x
            stages[f"stage{stage}"] = x
        return stages

    def _modules(self, branch: str) -> list[list[partial]]:
        """Returns the constructors of the blocks of each stage."""
        block = partial(Block, layers=self.layers.initialised_by(he_normal_fan_out))
        plan = plan_stages(_STAGES, self.output_stride, self.dilation)
        stages = [
            [
                partial(block, self.width, (1, 1), pool=0, name="block1"),
                partial(block, 2 * self.width, (1, 1), name="block2"),
            ]
        ]
        # Distance here between positions that are neighbours in the undilated network.
        distance = 1
        for stage, (stride, rates) in enumerate(plan, 1):
            kind: dict[str, Any] = {"name": f"block{stage + 2}"}
            # With 'plain' dilation the pooling uses the first, lower rate of the stage.
            each = tuple(rate for _, rate in rates)
            if stage == 4:
                kind = {"name": f"{branch}fc6", "kernel_size": 7}
                each = each if self.fc6 else ()
            pool = 2 if stage == 1 else stride
            module = partial(
                block,
                _CHANNELS[stage - 1] * self.width,
                each,
                pool=pool,
                pool_rate=distance,
                **kind,
            )
            stages = [*stages, [module]] if stage > 1 else [[*stages[0], module]]
            distance *= 2 // pool
        return stages


@BACKBONES.register(
    "vgg16",
    blocks=(3, 3, 3, 1),
    channels=lambda m: (256, 512, 512, 4096 if m.vgg.fc6 else 512),
    early={"block1": (64, 1), "block2": (128, 2)},
    fields={
        "model.vgg.fc6": Field(
            False,
            FLAG,
            "Add VGG-16's first fully connected layer to stage 4, as a 7x7 convolution"
            " to 4096 channels.",
        )
    },
    weight_files=(
        {
            "family": "torchvision_vgg",
            "title": "torchvision's vgg16",
            "recognised_by": ("features.28.weight", "classifier.0.weight"),
            "names": {
                rf"block{block}/conv{conv}": f"features.{place}"
                for place, block, conv in (
                    *((0, 1, 1), (2, 1, 2), (5, 2, 1), (7, 2, 2)),
                    *((10, 3, 1), (12, 3, 2), (14, 3, 3)),
                    *((17, 4, 1), (19, 4, 2), (21, 4, 3)),
                    *((24, 5, 1), (26, 5, 2), (28, 5, 3)),
                )
            }
            | {r"(scale\d_)?fc6/conv1": "classifier.0"},
            "flattened": {r"(scale\d_)?fc6/conv1": 7},
            "left_out": r"classifier\.\d\.(weight|bias)",
        },
    ),
)
def build(m) -> Callable[..., nn.Module]:
    """Returns the constructor of a VGG with the options of `config.model`."""
    return partial(
        VGG,
        fc6=m.vgg.fc6,
        output_stride=m.output_stride,
        dilation=m.dilation,
        remat=m.remat,
    )
