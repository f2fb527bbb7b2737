"""An image classifier, used to pre-train backbones."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from encnet_jax.models.norm import GroupedAxis
from encnet_jax.models.segmenter import run_backbone

# Uniform in +-1 / sqrt(channels), the default of PyTorch's linear layer.
_dense_init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


class Classifier(nn.Module):
    """An image classifier: backbone, global average pooling, linear layer.

    The backbone's parameters have the same names as in a segmenter.Segmenter, so that
    they can initialise its backbone. The linear layer has the name `classifier`.

    Attributes:
        num_classes: C, number of classes.
        backbone, axis_name, norm_epsilon, frozen_norm, dtype, freeze_backbone: see
            segmenter.Segmenter.
    """

    backbone: Callable[..., nn.Module]
    num_classes: int
    axis_name: str | GroupedAxis | None = None
    norm_epsilon: float = 1e-5
    frozen_norm: bool = False
    dtype: Any = jnp.float32
    freeze_backbone: bool = False

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """Runs the network.

        Args:
            images: f32[B, H, W, 3], normalised by channel mean and standard deviation.
            train: whether batch norms use batch statistics.

        Returns:
            {'logits': f32[B, C]}.
        """
        features = run_backbone(self, images, train)["stage4"]
        pooled = jnp.mean(features.astype(jnp.float32), axis=(1, 2))
        dense = nn.Dense(self.num_classes, kernel_init=_dense_init, name="classifier")
        return {"logits": dense(pooled)}
