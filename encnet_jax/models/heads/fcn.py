"""The FCN head: the paper's baseline, and the auxiliary head of released networks."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from encnet_jax.models.heads import AUX_HEADS, HEADS
from encnet_jax.models.heads.classifier import Classifier
from encnet_jax.models.layers import Layers


class FCNHead(nn.Module):
    """The FCN head: 3x3 convolutions, then a classifier.

    Attributes:
        stage: name of the input feature map, such as 'stage4'.
        channels: channels of the 3x3 convolutions.
        num_convs: number of 3x3 convolutions.
        concat_input: whether to concatenate the input with the output of the 3x3
            convolutions, then apply one more 3x3 convolution.
    """

    num_classes: int
    layers: Layers
    stage: str = "stage4"
    channels: int = 512
    num_convs: int = 1
    concat_input: bool = False
    dropout: float = 0.1

    @nn.compact
    def __call__(self, stages: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """Maps a feature map [B, h, w, C] to {'logits': f32[B, h, w, num_classes]}."""
        x = y = stages[self.stage]
        for i in range(1, self.num_convs + 1):
            y = self.layers.unit(self.channels, name=f"conv{i}")(y)
        if self.concat_input:
            y = jnp.concatenate([x, y], axis=-1)
            y = self.layers.unit(self.channels, name="conv_concat")(y)
        classifier = Classifier(
            self.num_classes, self.dropout, self.layers, name="classifier"
        )
        return {"logits": classifier(y)}


@HEADS.register("fcn")
def build(m, num_classes: int) -> Callable[..., nn.Module]:
    """Returns the constructor of an FCNHead with the options of `config.model`."""
    return partial(
        FCNHead,
        num_classes,
        channels=m.head_channels,
        num_convs=m.head_convs,
        concat_input=m.head_concat_input,
        dropout=m.dropout,
    )


@AUX_HEADS.register("fcn")
def build_auxiliary(m, num_classes: int) -> Callable[..., nn.Module]:
    """Returns the constructor of the auxiliary head, an FCNHead on stage 3."""
    return partial(
        FCNHead,
        num_classes,
        stage="stage3",
        channels=m.aux_channels,
        dropout=m.dropout,
    )
