"""The whole network: backbone, head, auxiliary head."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from encnet_jax.models.layers import make_layers


class Segmenter(nn.Module):
    """Maps images to named outputs; a head that is absent is an absent key.

    Attributes:
        backbone: makes the module that maps images to a dict of stages, given `layers`
            and a name.
        head: likewise; maps stages to a dict of outputs, 'logits' among them.
        aux_head: likewise, or None.
        axis_name: pmap axis of the batch norms; None for one device.
        dtype: compute type.
        freeze_backbone: its batch norms use their running statistics in training too,
            and no gradient reaches it.
    """

    backbone: Callable[..., nn.Module]
    head: Callable[..., nn.Module]
    aux_head: Callable[..., nn.Module] | None = None
    axis_name: str | None = None
    dtype: Any = jnp.float32
    freeze_backbone: bool = False

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """Runs the network.

        Args:
            images: f32[B, H, W, 3], normalised by channel mean and standard deviation.
            train: whether batch norms use the batch and dropout drops.

        Returns:
            What the head returns, 'logits' f32[B, h, w, C] at the output stride and,
            where present, 'se_logits' f32[B, C]; the auxiliary head's outputs with
            `aux_` before their names.
        """
        layers = make_layers(train, self.axis_name, self.dtype)
        stages = run_backbone(self, images, train)
        outputs = self.head(layers=layers, name="head")(stages)
        # Evaluation has no use for the auxiliary outputs, and XLA drops what is not
        # used.
        if self.aux_head is not None:
            auxiliary = self.aux_head(layers=layers, name="aux_head")(stages)
            outputs |= {f"aux_{name}": x for name, x in auxiliary.items()}
        return outputs


def run_backbone(network, images: jax.Array, train: bool) -> dict[str, jax.Array]:
    """Returns the stages of a network's backbone, made inside its compact method.

    Args:
        network: has fields backbone, axis_name, dtype and freeze_backbone of Segmenter.
        images, train: see Segmenter.
    """
    train = train and not network.freeze_backbone
    layers = make_layers(train, network.axis_name, network.dtype)
    backbone = network.backbone(layers=layers, name="backbone")
    stages = backbone(images.astype(network.dtype))
    return jax.lax.stop_gradient(stages) if network.freeze_backbone else stages
