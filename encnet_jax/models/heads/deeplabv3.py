"""The head of DeepLabV3."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from encnet_jax.models.heads import HEADS
from encnet_jax.models.heads.classifier import Classifier
from encnet_jax.models.layers import Layers


class DeepLabV3Head(nn.Module):
    """The DeepLabV3 head: atrous spatial pyramid pooling, then a 3x3 convolution.

    The dilation rates of the pyramid's 3x3 convolutions are 12, 24 and 36.

    Attributes:
        channels: channels of every convolution.
        concat_input: True: the last 3x3 convolution reads the concatenated branches, as
            in mmsegmentation; False: it reads a 1x1 convolution of the concatenated
            branches, as in the paper.

    Source: Chen et al., arXiv 1706.05587; number of channels as in EncNet's released
    baselines.
    """

    num_classes: int
    layers: Layers
    channels: int = 256
    concat_input: bool = False
    dropout: float = 0.1

    @nn.compact
    def __call__(self, stages: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """Maps stage 4 [B, h, w, C] to {'logits': f32[B, h, w, num_classes]}."""
        x = stages["stage4"]
        unit = self.layers.unit
        branches = [unit(self.channels, 1, name="rate1")(x)]
        for rate in (12, 24, 36):
            branch = unit(self.channels, dilation=rate, name=f"rate{rate}")
            branches.append(branch(x))
        pooled = unit(self.channels, 1, name="image")(self.layers.mean(x))
        branches.append(jnp.broadcast_to(pooled, branches[0].shape))
        x = jnp.concatenate(branches, axis=-1)
        if not self.concat_input:
            x = unit(self.channels, 1, name="project")(x)
            # Drops whole channels, like the released code.
            x = self.layers.dropout(0.5, broadcast_dims=(1, 2))(x)
        x = unit(self.channels, name="conv")(x)
        classifier = Classifier(
            self.num_classes, self.dropout, self.layers, name="classifier"
        )
        return {"logits": classifier(x)}


@HEADS.register("deeplabv3")
def build(m, num_classes: int) -> Callable[..., nn.Module]:
    """Returns the constructor of a DeepLabV3Head with the options of `config.model`."""
    return partial(
        DeepLabV3Head,
        num_classes,
        channels=m.head_channels,
        concat_input=m.head_concat_input,
        dropout=m.dropout,
    )
