"""The loss of CRF scores that learned layers have refined to the image's resolution."""

import jax
import jax.numpy as jnp
import numpy as np

from encnet_jax.fields import Field, between
from encnet_jax.labels import IGNORE_LABEL
from encnet_jax.losses import LOSSES
from encnet_jax.losses.cross_entropy import pixel_nats
from encnet_jax.losses.row_blocks import CLASSES, in_blocks
from encnet_jax.losses.terms import Inputs
from encnet_jax.models.refinement import Refined
from encnet_jax.models.resize import interpolation_matrix


@LOSSES.register(
    "refined",
    weight="refined_weight",
    reads=("refined",),
    fields={
        "loss.refined_weight": Field(
            1.0,
            between(0, 1e6),
            "Weight of the loss of the refined scores of head 'piecewise_crf'.",
        )
    },
)
def refined(inputs: Inputs) -> jax.Array:
    """Returns this device's contribution to the loss of a CRF's refined scores.

    The loss is the mean cross-entropy over labelled pixels.
    """
    count = jnp.sum(inputs.labels != IGNORE_LABEL).astype(jnp.float32)
    if inputs.axis_name is not None:
        count = jax.lax.psum(count, inputs.axis_name)
    total = refined_cross_entropy(
        inputs.outputs["refined"], inputs.labels, **inputs.grid
    )
    return total / jnp.maximum(count, 1)


def refined_cross_entropy(
    scores: Refined, labels: jax.Array, *, align_corners: bool, row_blocks: int
) -> jax.Array:
    """Sums the cross-entropy of a CRF's refined scores over labelled pixels, f32[].

    To save memory, the scores are computed for one block of rows at a time, and again
    in the backward pass.

    Args:
        scores: arrays from which the scores of images of H x W pixels are computed.
        labels: uint8[B, H, W], ids 0..K-1 or IGNORE_LABEL.
        align_corners: corner convention of the upsampling, as in PyTorch.
        row_blocks: number of blocks into which the H rows are split; need not divide H.
    """
    height, width = labels.shape[1:]
    low, narrow = scores.coarse.shape[1:3]
    rows = interpolation_matrix(height, low, align_corners)
    columns = interpolation_matrix(width, narrow, align_corners)
    block = -(-height // row_blocks)
    rows = np.pad(rows, ((0, block * row_blocks - height), (0, 0)))

    @jax.checkpoint
    def of_block(inputs):
        rows, features, labels = inputs
        x = jnp.swapaxes(scores.scores(rows, columns, features), CLASSES, 3)
        bound = jax.lax.stop_gradient(jnp.max(x, axis=CLASSES, keepdims=True))
        _, nats, _, valid = pixel_nats(x, bound, labels)
        return jnp.sum(jnp.where(valid, nats, 0.0))

    blocks = (
        jnp.asarray(rows.reshape(row_blocks, block, low)),
        in_blocks(scores.features, row_blocks, block, 0),
        in_blocks(labels, row_blocks, block, IGNORE_LABEL),
    )
    return jnp.sum(jax.lax.map(of_block, blocks))
