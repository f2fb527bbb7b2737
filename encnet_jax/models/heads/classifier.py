"""The last layers of most heads: dropout and a 1x1 convolution."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from encnet_jax.models.layers import Layers


class Classifier(nn.Module):
    """Computes class logits by dropout and a 1x1 convolution."""

    num_classes: int
    dropout: float
    layers: Layers

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps [B, h, w, C] to f32[B, h, w, num_classes]."""
        x = self.layers.dropout(self.dropout)(x)
        x = self.layers.conv(self.num_classes, 1, use_bias=True, name="conv")(x)
        return x.astype(jnp.float32)
