"""Losses: each term is a sum divided by its own count over all devices."""

from functools import partial

import jax
import jax.numpy as jnp
import optax

from encnet_jax.labels import IGNORE_LABEL
from encnet_jax.models.resize import interpolation_matrix


def upsampled_cross_entropy(
    logits: jax.Array,
    labels: jax.Array,
    align_corners: bool = True,
    row_blocks: int = 16,
) -> jax.Array:
    """Upsamples logits to the labels' size and sums their cross-entropy.

    Only 1 / row_blocks of the full-resolution logits exist at a time, in both
    directions: the gradient is built while the value is, and at the logits' own
    resolution.

    Args:
        logits: f32[B, h, w, C].
        labels: uint8[B, H, W], ids 0..C-1; IGNORE_LABEL counts nothing.
        align_corners: corner convention of the bilinear upsampling.
        row_blocks: number of blocks; need not divide H.

    Returns:
        f32[], nats summed over pixels.

    Source: section 3.1 of the paper (predictions are upsampled 8 times for the loss).
    """
    return _cross_entropy(logits, labels, align_corners, row_blocks)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _cross_entropy(logits, labels, align_corners, row_blocks):
    return _scan_row_blocks(logits, labels, align_corners, row_blocks, False)[0]


def _cross_entropy_forward(logits, labels, align_corners, row_blocks):
    return _scan_row_blocks(logits, labels, align_corners, row_blocks, True)


def _cross_entropy_backward(align_corners, row_blocks, gradient, cotangent):
    return cotangent * gradient, None


_cross_entropy.defvjp(_cross_entropy_forward, _cross_entropy_backward)


def _scan_row_blocks(logits, labels, align_corners, row_blocks, with_gradient):
    """Returns (sum of cross-entropy f32[], its gradient like logits or f32[])."""
    batch, height, width = labels.shape
    block = -(-height // row_blocks)
    pad = block * row_blocks - height
    # Rows added to fill the last block are ignored pixels of any value.
    rows = interpolation_matrix(height, logits.shape[1], align_corners)
    rows = jnp.pad(rows, ((0, pad), (0, 0))).reshape(row_blocks, block, -1)
    columns = jnp.asarray(interpolation_matrix(width, logits.shape[2], align_corners))
    labels = jnp.pad(labels, ((0, 0), (0, pad), (0, 0)), constant_values=IGNORE_LABEL)
    labels = labels.reshape(batch, row_blocks, block, width).swapaxes(0, 1)
    product = partial(jnp.einsum, precision="high")

    def add_block(carry, inputs):
        total, gradient = carry
        block_rows, block_labels = inputs
        x = product("rh,bhwc->brwc", block_rows, logits)
        x = product("Ww,brwc->brWc", columns, x)
        log_z = jax.nn.logsumexp(x, axis=-1, keepdims=True)
        valid = (block_labels != IGNORE_LABEL)[..., None]
        # A comparison instead of a gather: XLA fuses it into the reduction.
        is_label = block_labels[..., None] == jnp.arange(x.shape[-1], dtype=jnp.uint8)
        total += jnp.sum(
            jnp.where(
                valid, log_z - jnp.where(is_label, x, 0.0).sum(-1, keepdims=True), 0.0
            )
        )
        if with_gradient:
            d = jnp.where(valid, jnp.exp(x - log_z) - is_label, 0.0)
            d = product("Ww,brWc->brwc", columns, d)
            gradient += product("rh,brwc->bhwc", block_rows, d)
        return (total, gradient), None

    zero = jnp.zeros((), jnp.float32)
    start = (zero, jnp.zeros_like(logits) if with_gradient else zero)
    return jax.lax.scan(add_block, start, (rows, labels))[0]


def class_presence(labels: jax.Array, num_classes: int) -> jax.Array:
    """Returns f32[B, C]: 1 where a class occurs in the image's uint8[B, H, W] labels.

    Source: section 3.1 of the paper ("unique" of the ground-truth mask).
    """
    flat = labels.reshape(labels.shape[0], -1, 1)
    present = flat == jnp.arange(num_classes, dtype=labels.dtype)
    return jnp.any(present, axis=1).astype(jnp.float32)


def segmentation_loss(
    outputs: dict[str, jax.Array],
    labels: jax.Array,
    *,
    se_weight: float,
    aux_weight: float,
    align_corners: bool = True,
    row_blocks: int = 16,
    axis_name: str | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Adds up the pixel, presence and auxiliary terms.

    Pixel terms are divided by the number of labelled pixels, presence terms by the
    number of images that have any times C, both over all devices. What is returned is
    this device's share: the shares of all devices sum to the loss.

    Args:
        outputs: of the network; 'se_logits', 'aux_logits', 'aux_se_logits' if present.
        labels: uint8[B, H, W], ids 0..C-1 and IGNORE_LABEL.
        se_weight: alpha of the paper, of each presence term.
        aux_weight: of the auxiliary pixel term.
        align_corners, row_blocks: see upsampled_cross_entropy.
        axis_name: pmap axis, or None.

    Returns:
        (f32[] share of the loss, {'loss_pixel', 'loss_se', ...: f32[] unweighted
        shares}). An all-ignored batch gives zeros.

    Source: section 2 of the paper; weights as in its Figure 5.
    """
    num_classes = outputs["logits"].shape[-1]
    valid = labels != IGNORE_LABEL
    image_valid = jnp.any(valid, axis=(1, 2))
    counts = jnp.stack([jnp.sum(valid), jnp.sum(image_valid)]).astype(jnp.float32)
    if axis_name is not None:
        counts = jax.lax.psum(counts, axis_name)
    num_pixels, num_images = jnp.maximum(counts, 1.0)
    presence = class_presence(labels, num_classes)

    def pixel_term(logits):
        return (
            upsampled_cross_entropy(logits, labels, align_corners, row_blocks)
            / num_pixels
        )

    def presence_term(logits):
        each = optax.sigmoid_binary_cross_entropy(logits, presence)
        return jnp.sum(each * image_valid[:, None]) / (num_images * num_classes)

    terms = {"loss_pixel": pixel_term(outputs["logits"])}
    loss = terms["loss_pixel"]
    if "se_logits" in outputs:
        terms["loss_se"] = presence_term(outputs["se_logits"])
        loss += se_weight * terms["loss_se"]
    if "aux_se_logits" in outputs:
        terms["loss_aux_se"] = presence_term(outputs["aux_se_logits"])
        loss += se_weight * terms["loss_aux_se"]
    if "aux_logits" in outputs:
        terms["loss_aux"] = pixel_term(outputs["aux_logits"])
        loss += aux_weight * terms["loss_aux"]
    return loss, terms
