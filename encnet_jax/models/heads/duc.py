"""The head with dense upsampling convolution (DUC).

Convolutions compute the logits of a block of pixels as channels of one position.
"""

import functools
from collections.abc import Callable, Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from encnet_jax.fields import AT_LEAST_ONE, Field, one_of, several
from encnet_jax.models.heads import HEADS
from encnet_jax.models.layers import Layers


def depth_to_space(x: jax.Array, block: int) -> jax.Array:
    """Rearranges the channels of each position into a square of positions.

    The channels of an input position are ordered by class, then by row, then by column
    of the square, as in PyTorch's PixelShuffle. TensorFlow's depth_to_space expects a
    different order, by row, then by column, then by class.

    Args:
        x: [B, h, w, L * block * block], scores of L classes.
        block: height and width of the square.

    Returns:
        [B, h * block, w * block, L].

    Raises:
        ValueError: the number of channels is not a multiple of block * block.

    Source: Wang et al., WACV 2018, section 3.1; order as in the authors' code.
    """
    batch, height, width, channels = x.shape
    classes, rest = divmod(channels, block**2)
    if rest:
        raise ValueError(
            f"x has {channels} channels; expected a multiple of {block} * {block}"
        )
    x = x.reshape(batch, height, width, classes, block, block)
    return x.transpose(0, 1, 4, 2, 5, 3).reshape(
        batch, height * block, width * block, classes
    )


class DUCHead(nn.Module):
    """Predicts a block of labels for each position of the feature map.

    The logits are the sum of dilated 3x3 convolutions with bias, without batch norm,
    ReLU and dropout. The names of the convolutions are 'rate6', 'rate12' and so on.

    Attributes:
        block: height and width of the block of labels.
        rates: dilation rate of each convolution.

    Source: Wang et al., WACV 2018, section 3.1; parallel branches (ASPP) as in the
    authors' code.
    """

    num_classes: int
    layers: Layers
    block: int = 4
    rates: Sequence[int] = (6, 12, 18, 24)

    @nn.compact
    def __call__(self, stages: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """Returns the logits of all labels.

        Args:
            stages: {'stage4': feature map [B, h, w, C]}.

        Returns:
            {'logits': f32[B, h * block, w * block, num_classes]}.
        """
        x, features = stages["stage4"], self.num_classes * self.block**2
        branches = (
            self.layers.conv(
                features, dilation=rate, use_bias=True, name=f"rate{rate}"
            )(x).astype(jnp.float32)
            for rate in self.rates
        )
        logits = functools.reduce(jnp.add, branches)
        return {"logits": depth_to_space(logits, self.block)}


@HEADS.register(
    "duc",
    fields={
        "model.duc.cell": Field(
            2, one_of(1, 2, 4), "Distance between neighbouring logits, in image pixels."
        ),
        "model.duc.rates": Field(
            (6, 12, 18, 24),
            several(AT_LEAST_ONE, "one or more whole numbers above 0", 1),
            "Dilation rates of the head's parallel 3x3 convolutions, whose outputs are"
            " added.",
        ),
    },
    logits_stride=lambda m: m.duc.cell,
    # Logits belong to cells of pixels, whose outer edges are the edges of the image:
    # align_corners is False. Padding consists of whole cells and is not masked.
    decides={
        "model.aux": "none",
        "model.align_corners": False,
        "model.mask_padding": False,
        "loss.labels": "thinned",
    },
)
def build(m, num_classes: int) -> Callable[..., nn.Module]:
    """Returns the constructor of a DUCHead with the options of `config.model`."""
    block = m.output_stride // m.duc.cell
    return partial(DUCHead, num_classes, block=block, rates=tuple(m.duc.rates))
