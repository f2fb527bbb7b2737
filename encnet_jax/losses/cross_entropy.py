"""Cross-entropy of every pixel: plain, weighted by class, focal, or smoothed."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, UInt8

from encnet_jax.labels import IGNORE_LABEL
from encnet_jax.losses.row_blocks import log_sum_exp, over_pixels

_TINY = 1e-12  # Keeps powers of 1 - p finite where p rounds to 1.


class _Form(NamedTuple):
    """Arguments of upsampled_cross_entropy, hashable."""

    align_corners: bool
    row_blocks: int
    class_weights: tuple[float, ...]
    focal_gamma: float
    label_smoothing: float


def upsampled_cross_entropy(
    logits: Float[jax.Array, "B h w C"],
    labels: UInt8[jax.Array, "B H W"],
    align_corners: bool = True,
    row_blocks: int = 20,
    *,
    class_weights: tuple[float, ...] = (),
    focal_gamma: float = 0.0,
    label_smoothing: float = 0.0,
) -> Float[jax.Array, ""]:
    """Upsamples logits to the labels' size and sums their cross-entropy.

    Only 1 / row_blocks of the full-resolution logits exist at a time, also in the
    backward pass: the gradient is computed together with the value, at the resolution
    of the logits. If the sizes are equal, nothing is upsampled, and the gradient is the
    only new array of the logits' size.

    Let p be the softmax, y the label, w the class weights and e the label smoothing. A
    pixel adds -w_y (1 - p_y)**gamma log p_y, or with smoothed labels
    -(1 - e) w_y log p_y - e / C * sum_c w_c log p_c.

    The result is exact unless a class's logits at neighbouring positions differ by more
    than 110; see row_blocks.log_sum_exp.

    Args:
        logits: f32[B, h, w, C].
        labels: uint8[B, H, W], ids 0..C-1; pixels of IGNORE_LABEL do not count.
        align_corners: corner convention of the bilinear upsampling.
        row_blocks: number of blocks; need not divide H.
        class_weights: C factors, or () for 1 each.
        focal_gamma: at least 0; larger values give correctly classified pixels less
            weight.
        label_smoothing: in [0, 1), the fraction of the target spread over all classes.

    Returns:
        f32[], nats summed over pixels.

    Raises:
        ValueError: there are not C class weights, or both focal_gamma and
            label_smoothing are given, a combination that is not defined.

    Source: section 3.1 of the paper (predictions are upsampled 8 times for the loss);
    Lin et al., ICCV 2017, equation 4 (focal loss), with softmax instead of sigmoid;
    PyTorch's cross_entropy for weights and smoothing.
    """
    if class_weights and len(class_weights) != logits.shape[-1]:
        raise ValueError(
            f"class_weights has {len(class_weights)} numbers; expected one for each of"
            f" the {logits.shape[-1]} classes of the logits"
        )
    if focal_gamma and label_smoothing:
        raise ValueError("focal_gamma and label_smoothing exclude each other")
    form = _Form(
        align_corners, row_blocks, tuple(class_weights), focal_gamma, label_smoothing
    )
    return _cross_entropy(logits, labels, form)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _cross_entropy(logits, labels, form):
    return _value_and_gradient(logits, labels, form, False)[0]


def _cross_entropy_forward(logits, labels, form):
    return _value_and_gradient(logits, labels, form, True)


def _cross_entropy_backward(form, gradient, cotangent):
    return cotangent * gradient, None


_cross_entropy.defvjp(_cross_entropy_forward, _cross_entropy_backward)


def _value_and_gradient(logits, labels, form, with_gradient):
    """Returns (summed cross-entropy f32[], gradient of the logits' shape, else 0)."""
    plain = not (form.class_weights or form.focal_gamma or form.label_smoothing)
    total, gradient, _ = over_pixels(
        _plain if plain else partial(_shaped, form=form),
        logits,
        labels,
        align_corners=form.align_corners,
        row_blocks=form.row_blocks,
        with_gradient=with_gradient,
    )
    return total, gradient


def pixel_nats(
    x: jax.Array, bound: jax.Array, labels: jax.Array
) -> tuple[jax.Array, ...]:
    """Returns (log_z, nats, is_label, valid) of pixels, all [B, R, W, 1 or C].

    Args:
        x: f32[B, R, W, C], logits.
        bound: f32[B, R, W, 1], see log_sum_exp.
        labels: uint8[B, R, W].

    Returns:
        log_z: f32, log of the sum of exponentials. nats: f32, -log p of the label.
        is_label: bool[..., C]. valid: bool, whether the pixel is labelled.
    """
    log_z = log_sum_exp(x, bound)
    valid = (labels != IGNORE_LABEL)[..., None]
    # A comparison instead of a gather: XLA fuses it into the reduction.
    is_label = jax.nn.one_hot(labels, x.shape[-1], dtype=bool)
    of_label = jnp.where(is_label, x, 0.0).sum(-1, keepdims=True)
    return log_z, log_z - of_label, is_label, valid


def _plain(x, bound, labels):
    """See over_pixels."""
    log_z, nats, is_label, valid = pixel_nats(x, bound, labels)
    total = jnp.sum(jnp.where(valid, nats, 0.0))
    p = jnp.exp(x - log_z)
    return total, jnp.where(valid, p - is_label.astype(p.dtype), 0.0), None


def _shaped(x, bound, labels, form):
    """See over_pixels and upsampled_cross_entropy."""
    log_z, nats, is_label, valid = pixel_nats(x, bound, labels)
    # `pull` is the derivative of `value` with respect to `nats`.
    value, pull = nats, jnp.ones_like(nats)
    if form.focal_gamma:
        wrong = jnp.maximum(-jnp.expm1(-nats), _TINY)  # 1 - p_y.
        factor = wrong**form.focal_gamma
        value = factor * nats
        pull = factor * (1 + form.focal_gamma * nats * jnp.exp(-nats) / wrong)
    each = form.class_weights or (1.0,) * x.shape[-1]
    weights = jnp.asarray(each, jnp.float32).reshape(1, 1, 1, -1)
    if form.class_weights:
        of_label = jnp.where(is_label, weights, 0.0).sum(-1, keepdims=True)
        value, pull = of_label * value, of_label * pull
    target = jnp.where(is_label, pull, 0.0)
    if form.label_smoothing:
        spread = form.label_smoothing / x.shape[-1] * weights
        hard = (1 - form.label_smoothing) * pull
        # Only one sum over classes: on CPUs each needs an array of the block's size.
        target = jnp.where(is_label, hard + spread, spread)
        pull = hard + jnp.sum(spread)
        value = pull * log_z - jnp.sum(target * x, axis=-1, keepdims=True)
    d = pull * jnp.exp(x - log_z) - target
    return jnp.sum(jnp.where(valid, value, 0.0)), jnp.where(valid, d, 0.0), None
