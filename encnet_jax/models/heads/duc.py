"""Dense upsampling convolution (DUC): rearranges channels to rows and columns."""

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
    """Rearranges blocks of channels to positions on a finer grid.

    Channel (class * block + row) * block + column of cell (y, x) becomes the score of
    `class` at row block * y + row and column block * x + column. This is the order of
    PyTorch's PixelShuffle; TensorFlow's depth_to_space has the class last.

    Args:
        x: [B, h, w, L * block * block].
        block: r; 1 returns x unchanged.

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
    """Predicts a block of labels for each cell of the feature map.

    The logits are the sum of dilated 3x3 convolutions with bias; there is no norm, ReLU
    or dropout.

    Attributes:
        num_classes: L.
        block: r; each cell becomes r x r labels.
        rates: dilation rates of the convolutions, submodules `rate6` and so on.

    Source: Wang et al., WACV 2018, section 3.1; parallel branches (ASPP) as in the
    authors' code.
    """

    num_classes: int
    layers: Layers
    block: int = 4
    rates: Sequence[int] = (6, 12, 18, 24)

    @nn.compact
    def __call__(self, stages: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """Maps stages to {'logits': f32[B, h * block, w * block, num_classes]}.

        h and w are the sides of stage 4.
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
            2, one_of(1, 2, 4), "Distance of neighbouring logits, in image pixels."
        ),
        "model.duc.rates": Field(
            (6, 12, 18, 24),
            several(AT_LEAST_ONE, "one or more whole rates above 0", 1),
            "Dilation rates of the 3x3 convolutions that the head adds.",
        ),
    },
    logits_stride=lambda m: m.duc.cell,
    # Logits cover cells of pixels and share their outer edges with the image. Padding
    # around an image consists of whole cells and is not masked.
    decides={
        "model.aux": "none",
        "model.align_corners": False,
        "model.mask_padding": False,
        "loss.labels": "thinned",
    },
)
def build(m, num_classes: int) -> Callable[..., nn.Module]:
    """Returns the constructor of the head that a model configuration describes."""
    block = m.output_stride // m.duc.cell
    return partial(DUCHead, num_classes, block=block, rates=tuple(m.duc.rates))
