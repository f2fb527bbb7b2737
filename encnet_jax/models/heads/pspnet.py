"""PSPNet's head."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from encnet_jax.models.heads.classifier import Classifier
from encnet_jax.models.layers import Layers
from encnet_jax.models.resize import apply_rows_and_columns, resize_bilinear


def adaptive_pool_matrix(out_size: int, in_size: int) -> np.ndarray:
    """Returns f32[out_size, in_size]; row i averages floor(i s) .. ceil((i + 1) s) - 1.

    s = in_size / out_size, so neighbouring cells may share a sample, as in PyTorch.
    """
    matrix = np.zeros((out_size, in_size), np.float32)
    for i in range(out_size):
        start = i * in_size // out_size
        stop = -(-(i + 1) * in_size // out_size)
        matrix[i, start:stop] = 1.0 / (stop - start)
    return matrix


class PSPHead(nn.Module):
    """Pyramid pooling at 1, 2, 3 and 6 cells, then an FCN head.

    Source: Zhao et al., CVPR 2017; widths as in the released baselines of EncNet.
    """

    num_classes: int
    layers: Layers
    channels: int = 512
    align_corners: bool = True
    dropout: float = 0.1

    @nn.compact
    def __call__(self, stages: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """Maps stages of [B, h, w, C] to {'logits': f32[B, h, w, num_classes]}."""
        x = stages["stage4"]
        height, width = x.shape[1:3]
        branches = [x]
        for cells in (1, 2, 3, 6):
            pooled = apply_rows_and_columns(
                x,
                jnp.asarray(adaptive_pool_matrix(cells, height)),
                jnp.asarray(adaptive_pool_matrix(cells, width)),
            )
            pooled = self.layers.unit(self.channels, 1, name=f"pool{cells}")(pooled)
            branches.append(resize_bilinear(pooled, height, width, self.align_corners))
        x = jnp.concatenate(branches, axis=-1)
        x = self.layers.unit(self.channels, name="conv")(x)
        classifier = Classifier(
            self.num_classes, self.dropout, self.layers, name="classifier"
        )
        return {"logits": classifier(x)}
