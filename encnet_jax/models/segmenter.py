"""The whole network: backbone, head, auxiliary head."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


class Segmenter(nn.Module):
    """Maps images to named outputs; a head that is absent is an absent key.

    Attributes:
        backbone: maps images to a dict of stages.
        head: of the kind `head_input` says.
        head_input: 'stages' (returns logits and presence logits) or 'stage4' (logits).
        aux_head: on stage 3, or None.
        aux_output: 'se_logits' or 'logits', what the auxiliary head returns.
        dtype: compute type the images are cast to.
    """

    backbone: nn.Module
    head: nn.Module
    head_input: str = "stage4"
    aux_head: nn.Module | None = None
    aux_output: str = "logits"
    dtype: Any = jnp.float32

    def __call__(self, images: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """Runs the network.

        Args:
            images: f32[B, H, W, 3], normalised by channel mean and standard deviation.
            train: whether batch norms use the batch and dropout drops.

        Returns:
            'logits' f32[B, h, w, C] at the output stride; where present 'se_logits'
            f32[B, C], 'aux_logits' f32[B, h', w', C], 'aux_se_logits' f32[B, C].
        """
        stages = self.backbone(images.astype(self.dtype), train)
        outputs = {}
        if self.head_input == "stages":
            outputs["logits"], se_logits = self.head(stages, train)
            if se_logits is not None:
                outputs["se_logits"] = se_logits
        else:
            outputs["logits"] = self.head(stages["stage4"], train)
        # Evaluation has no use for the auxiliary output, and XLA drops what is not
        # used.
        if self.aux_head is not None:
            outputs[f"aux_{self.aux_output}"] = self.aux_head(stages["stage3"], train)
        return outputs
