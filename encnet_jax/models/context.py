"""The Context Encoding Module: encodes a feature map and scales its channels."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from encnet_jax.models import initial_weights
from encnet_jax.models.encoding import Encoding, store
from encnet_jax.models.layers import Layers


class ContextEncoding(nn.Module):
    """Encodes a feature map x as one vector e and scales the channels of x.

    The channel factors are sigmoid(W e + b), where W and b are learned. The optional SE
    branch (semantic encoding) predicts from e which classes are present in the image.

    Attributes:
        num_codes: K, number of codewords; 0 replaces the encoding by global average
            pooling (Figure 5 of the paper).
        code_pooling: how the K codes, after batch norm and ReLU, are pooled to e: 'sum'
            (paper) or 'mean' (released code).
        gate: how the factors are applied. 'scale': x * factors (paper); 'residual':
            relu(x + x * factors) (released code); 'none': no factors are computed, for
            heads that use only the SE branch.
        gate_bias: added to the initial b; with a large value, the initial factors are
            close to 1.
        se_classes: number of classes of the SE branch; 0 for no SE branch.
        se_gradient: whether the SE branch's gradient reaches the encoding and the
            backbone.
        reference_positions: number of feature map positions in a training crop. Codes
            are sums over positions; for images of other sizes, codes are scaled to the
            magnitude that they have for a training crop. 0: codes are not scaled.

    Source: section 2 and Figure 2 of the paper.
    """

    layers: Layers
    num_codes: int = 32
    code_pooling: str = "sum"
    gate: str = "scale"
    gate_bias: float = 0.0
    se_classes: int = 0
    se_gradient: bool = True
    reference_positions: int = 0

    @nn.compact
    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        """Returns the scaled feature map and the logits of class presence.

        If `apply` is called with `mutable=[INTERMEDIATES]`, this collection contains
        'gates', the channel factors f32[B, D] in [0, 1], and 'features', which is x.

        Args:
            x: [B, H, W, D].

        Returns:
            A dict of
                'features': [B, H, W, D] of x's dtype, the scaled feature map; absent if
                    `gate` is 'none'.
                'se_logits': f32[B, se_classes]; absent if `se_classes` is 0.
        """
        semantics = self._encoded_semantics(x)
        outputs = {}
        if self.se_classes:
            presence = self._dense(self.se_classes, x.shape[-1], "presence")
            outputs["se_logits"] = presence(
                semantics if self.se_gradient else jax.lax.stop_gradient(semantics)
            )
        if self.gate == "none":
            return outputs
        attention = self._dense(x.shape[-1], x.shape[-1], "attention", self.gate_bias)
        factors = nn.sigmoid(attention(semantics))
        store(self, "gates", factors)
        store(self, "features", x)
        scaled = x * factors[:, None, None].astype(x.dtype)
        residual = self.gate == "residual"
        outputs["features"] = nn.relu(x + scaled) if residual else scaled
        return outputs

    def _encoded_semantics(self, x: jax.Array) -> jax.Array:
        """Encodes feature maps [B, H, W, D] as one vector per image, f32[B, D]."""
        x = self.layers.unit(x.shape[-1], 1, name="project")(x)
        if not self.num_codes:
            return self.layers.mean(x)[:, 0, 0]
        weights = self.layers.weights(x)
        codes = Encoding(self.num_codes, name="encoding")(x, weights=weights)
        if self.reference_positions:
            codes *= self._share_of_reference(x, weights)
        # One mean and variance per codeword, over images, channels and devices.
        norm = self.layers.norm(feature_axis=1, dtype=jnp.float32, name="norm")
        codes = norm(codes)
        pool = jnp.sum if self.code_pooling == "sum" else jnp.mean
        return pool(nn.relu(codes), axis=1)

    def _share_of_reference(self, x: jax.Array, weights: jax.Array | None) -> jax.Array:
        """Returns `reference_positions` divided by the number of positions per image.

        Args:
            x: feature map [B, H, W, D].
            weights: f32[B, H, W], 1 inside the image, 0 in the padding; None if no
                image is padded.

        Returns:
            f32[B, 1, 1], one ratio per image; f32[] if no image is padded.
        """
        if weights is None:
            return jnp.float32(self.reference_positions / (x.shape[1] * x.shape[2]))
        count = jnp.sum(weights, axis=(1, 2))[:, None, None]
        return self.reference_positions / jnp.maximum(count, 1.0)

    def _dense(
        self, features: int, fan_in: int, name: str, added_bias: float = 0.0
    ) -> nn.Dense:
        kernel_init = initial_weights.uniform_kernel
        if self.num_codes and self.code_pooling == "sum":
            # The sum over K codewords is K times their mean. With the usual initial
            # weights, every sigmoid would be saturated and have no gradient.
            variance = 1 / (3 * self.num_codes**2)
            kernel_init = nn.initializers.variance_scaling(
                variance, "fan_in", "uniform"
            )
        drawn = initial_weights.uniform_bias(fan_in)
        return nn.Dense(
            features,
            kernel_init=kernel_init,
            bias_init=lambda *args: drawn(*args) + added_bias,
            name=name,
        )
