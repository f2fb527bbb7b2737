"""Losses: each term is a sum divided by its own count over all devices."""

from functools import partial

import jax
import jax.numpy as jnp
import optax

from encnet_jax.models.resize import interpolation_matrix

IGNORE_LABEL = 255


def upsampled_cross_entropy(
    logits: jax.Array,
    labels: jax.Array,
    align_corners: bool = True,
    row_blocks: int = 16,
) -> jax.Array:
    """Upsamples logits to the labels' size and sums their cross-entropy.

    Only 1 / row_blocks of the full-resolution logits exist at a time, in both
    directions: the gradient is built while the value is, and at the logits' own
    resolution. Where the sizes are equal nothing is upsampled, and nothing of the
    logits' size is made but their gradient.

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


def thinned_labels(labels: jax.Array, logits: jax.Array) -> jax.Array:
    """Keeps the label at the top left of each cell of the logits' grid.

    Args:
        labels: uint8[B, H, W].
        logits: [B, h, w, C], of a grid whose cells have sides of ceil(H / h) pixels.

    Returns:
        uint8[B, h, w]: labels[:, ::cell, ::cell].

    Raises:
        ValueError: no whole number of cells covers the labels.

    Source: Wang et al., WACV 2018, as their loader does it; a vote would be another.
    """
    cell = -(-labels.shape[1] // logits.shape[1])
    thinned = labels[:, ::cell, ::cell]
    if thinned.shape[1:] != logits.shape[1:3]:
        raise ValueError(
            f"labels {labels.shape} thinned by {cell} are {thinned.shape}, and the"
            f" logits {logits.shape}"
        )
    return thinned


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _cross_entropy(logits, labels, align_corners, row_blocks):
    return _value_and_gradient(logits, labels, align_corners, row_blocks, False)[0]


def _cross_entropy_forward(logits, labels, align_corners, row_blocks):
    return _value_and_gradient(logits, labels, align_corners, row_blocks, True)


def _cross_entropy_backward(align_corners, row_blocks, gradient, cotangent):
    return cotangent * gradient, None


_cross_entropy.defvjp(_cross_entropy_forward, _cross_entropy_backward)


def _value_and_gradient(logits, labels, align_corners, row_blocks, with_gradient):
    """Returns (sum of cross-entropy f32[], its gradient like logits or f32[])."""
    if logits.shape[1:3] == labels.shape[1:]:
        total, gradient = _pixel_terms(logits, labels)
        return total, gradient if with_gradient else jnp.zeros((), jnp.float32)
    return _scan_row_blocks(logits, labels, align_corners, row_blocks, with_gradient)


def _pixel_terms(x, labels):
    """Returns (f32[] sum over pixels, its gradient with respect to x, [B, H, W, C])."""
    log_z = jax.nn.logsumexp(x, axis=-1, keepdims=True)
    valid = (labels != IGNORE_LABEL)[..., None]
    # A comparison instead of a gather: XLA fuses it into the reduction.
    is_label = labels[..., None] == jnp.arange(x.shape[-1], dtype=jnp.uint8)
    of_label = jnp.where(is_label, x, 0.0).sum(-1, keepdims=True)
    total = jnp.sum(jnp.where(valid, log_z - of_label, 0.0))
    return total, jnp.where(valid, jnp.exp(x - log_z) - is_label, 0.0)


def _scan_row_blocks(logits, labels, align_corners, row_blocks, with_gradient):
    """As _value_and_gradient, of logits that are upsampled."""
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
        block_total, d = _pixel_terms(x, block_labels)
        total += block_total
        if with_gradient:
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
    thin_labels: bool = False,
    axis_name: str | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Adds up the pixel, presence and auxiliary terms.

    Pixel terms are divided by the number of labelled pixels (of their own grid, where
    labels are thinned), presence terms by the number of images that have any times C,
    both over all devices. What is returned is this device's share: the shares of all
    devices sum to the loss.

    Args:
        outputs: of the network; 'se_logits', 'aux_logits', 'aux_se_logits' if present.
        labels: uint8[B, H, W], ids 0..C-1 and IGNORE_LABEL.
        se_weight: alpha of the paper, of each presence term.
        aux_weight: of the auxiliary pixel term.
        align_corners, row_blocks: see upsampled_cross_entropy.
        thin_labels: bring the labels to the logits' grid (thinned_labels) instead of
            the logits to the labels'.
        axis_name: pmap axis, or None.

    Returns:
        (f32[] share of the loss, {'loss_pixel', 'loss_se', ...: f32[] unweighted
        shares}). An all-ignored batch gives zeros.

    Source: section 2 of the paper; weights as in its Figure 5.
    """
    num_classes = outputs["logits"].shape[-1]
    grids = {
        name: thinned_labels(labels, outputs[name]) if thin_labels else labels
        for name in ("logits", "aux_logits")
        if name in outputs
    }
    image_valid = jnp.any(labels != IGNORE_LABEL, axis=(1, 2))
    counts = [jnp.sum(grid != IGNORE_LABEL) for grid in grids.values()]
    counts = jnp.stack([*counts, jnp.sum(image_valid)]).astype(jnp.float32)
    if axis_name is not None:
        counts = jax.lax.psum(counts, axis_name)
    *num_pixels, num_images = jnp.maximum(counts, 1.0)
    num_pixels = dict(zip(grids, num_pixels, strict=True))
    presence = class_presence(labels, num_classes)

    def pixel_term(name):
        total = upsampled_cross_entropy(
            outputs[name], grids[name], align_corners, row_blocks
        )
        return total / num_pixels[name]

    def presence_term(logits):
        each = optax.sigmoid_binary_cross_entropy(logits, presence)
        return jnp.sum(each * image_valid[:, None]) / (num_images * num_classes)

    terms = {"loss_pixel": pixel_term("logits")}
    loss = terms["loss_pixel"]
    if "se_logits" in outputs:
        terms["loss_se"] = presence_term(outputs["se_logits"])
        loss += se_weight * terms["loss_se"]
    if "aux_se_logits" in outputs:
        terms["loss_aux_se"] = presence_term(outputs["aux_se_logits"])
        loss += se_weight * terms["loss_aux_se"]
    if "aux_logits" in outputs:
        terms["loss_aux"] = pixel_term("aux_logits")
        loss += aux_weight * terms["loss_aux"]
    return loss, terms
