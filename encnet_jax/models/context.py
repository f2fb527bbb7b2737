"""The Context Encoding Module: encoded semantics, featuremap attention, SE branch."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from encnet_jax.models import initial_weights
from encnet_jax.models.conv import ConvNormRelu
from encnet_jax.models.encoding import Encoding
from encnet_jax.models.norm import SyncBatchNorm


class ContextEncoding(nn.Module):
    """Describes the whole featuremap by one vector and scales its channels with it.

    Attributes:
        num_codes: K; 0 replaces the encoding by global average pooling (Figure 5).
        code_pooling: over codewords, of ReLU(BN(e_k)): 'sum' (paper) or 'mean'
            (released).
        gate: 'scale': x * sigmoid(W e) (paper); 'residual': relu(x + x * sigmoid(W e))
            (released); 'none': no output map, where only the SE branch is wanted.
        se_classes: classes of the SE branch; 0 leaves it out.
        axis_name: pmap axis of the batch norms.
        dtype: compute type of the convolutions and of the output.

    Source: section 2 and Figure 2 of the paper.
    """

    num_codes: int = 32
    code_pooling: str = "sum"
    gate: str = "scale"
    se_classes: int = 0
    axis_name: str | None = None
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: jax.Array, train: bool
    ) -> tuple[jax.Array | None, jax.Array | None]:
        """Returns the gated featuremap and the class-presence logits.

        Args:
            x: [B, H, W, D].
            train: whether batch norms use the batch's statistics.

        Returns:
            ([B, H, W, D] of x's type, or None if gate is 'none';
             f32[B, se_classes], or None if se_classes is 0).
        """
        semantics = self._encoded_semantics(x, train)
        se_logits = None
        if self.se_classes:
            se_logits = self._dense(self.se_classes, x.shape[-1], "presence")(semantics)
        if self.gate == "none":
            return None, se_logits
        factors = nn.sigmoid(
            self._dense(x.shape[-1], x.shape[-1], "attention")(semantics)
        )
        scaled = x * factors[:, None, None].astype(x.dtype)
        return (scaled if self.gate == "scale" else nn.relu(x + scaled)), se_logits

    def _encoded_semantics(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps [B, H, W, D] to e, f32[B, D]."""
        x = ConvNormRelu(
            x.shape[-1], 1, axis_name=self.axis_name, dtype=self.dtype, name="project"
        )(x, train)
        if not self.num_codes:
            return jnp.mean(x.astype(jnp.float32), axis=(1, 2))
        codes = Encoding(self.num_codes, name="encoding")(x)
        # One mean and variance for each codeword, over images, channels and devices.
        codes = SyncBatchNorm(self.axis_name, feature_axis=1, name="norm")(codes, train)
        pool = jnp.sum if self.code_pooling == "sum" else jnp.mean
        return pool(nn.relu(codes), axis=1)

    def _dense(self, features: int, fan_in: int, name: str) -> nn.Dense:
        kernel_init = initial_weights.uniform_kernel
        if self.num_codes and self.code_pooling == "sum":
            # The sum over K codewords is K times their mean: without the smaller
            # weights every sigmoid would start saturated and pass no gradient.
            variance = 1 / (3 * self.num_codes**2)
            kernel_init = nn.initializers.variance_scaling(
                variance, "fan_in", "uniform"
            )
        bias_init = initial_weights.uniform_bias(fan_in)
        return nn.Dense(
            features, kernel_init=kernel_init, bias_init=bias_init, name=name
        )
