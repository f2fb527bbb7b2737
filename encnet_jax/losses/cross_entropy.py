"""Cross-entropy of pixels: plain, weighted by class, focal, or with smoothed labels."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, UInt8

from encnet_jax.labels import IGNORE_LABEL
from encnet_jax.losses.row_blocks import CLASSES, log_sum_exp, over_pixels

_TINY = 1e-12  # Lower limit of 1 - p, so that its powers are finite if p rounds to 1.


class _Form(NamedTuple):
    """The options of upsampled_cross_entropy as one hashable tuple."""

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
    """Upsamples logits to the size of the labels and sums the pixels' cross-entropy.

    To save memory, the logits are upsampled for one block of rows at a time, also when
    a gradient is computed. Logits that have the same height and width as the labels
    are neither upsampled nor split.

    Let p be the softmax of a pixel's logits, y the pixel's label, w the class weights
    and e the label smoothing. The cross-entropy of the pixel is

        -w_y (1 - p_y)**focal_gamma log p_y                 without label smoothing
        -(1 - e) w_y log p_y - e / C * sum_c w_c log p_c    with label smoothing

    The result is exact unless the logits of a class at neighbouring positions differ by
    more than 110; see row_blocks.log_sum_exp.

    Args:
        logits: f32[B, h, w, C].
        labels: uint8[B, H, W], ids 0..C-1; pixels with IGNORE_LABEL are not counted.
        align_corners: corner convention of the bilinear upsampling, as in PyTorch.
        row_blocks: number of blocks into which the H rows are split; need not divide H.
        class_weights: C weights, one for each class, or () if all weights are 1.
        focal_gamma: 0 or more; larger values reduce the weight of pixels that are
            classified correctly.
        label_smoothing: in [0, 1), the fraction of the target probability that is
            spread evenly over all classes.

    Returns:
        f32[], cross-entropy in nats, summed over labelled pixels.

    Raises:
        ValueError: class_weights has a length other than C and 0, or both focal_gamma
            and label_smoothing differ from 0.

    Source: section 3.1 of the paper (predictions are upsampled 8 times for the loss);
    Lin et al., ICCV 2017, equation 4 (focal loss), with softmax instead of sigmoid;
    PyTorch's cross_entropy for weights and smoothing.
    """
    if class_weights and len(class_weights) != logits.shape[-1]:
        raise ValueError(
            f"class_weights has {len(class_weights)} values; expected"
            f" {logits.shape[-1]}, one for each class of the logits"
        )
    if focal_gamma and label_smoothing:
        raise ValueError(
            f"focal_gamma is {focal_gamma} and label_smoothing is {label_smoothing};"
            " expected at least one of them to be 0"
        )
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
    """Returns the summed cross-entropy, f32[], and its gradient, f32[B, h, w, C].

    If `with_gradient` is False, the second result is a scalar 0.
    """
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
    """Returns the cross-entropy of each pixel, and arrays for computing the gradient.

    Args:
        x: f32[B, R, C, W], logits of R rows of pixels.
        bound: f32[B, R, 1, W], a number for each pixel that is at least the pixel's
            largest logit; see log_sum_exp.
        labels: uint8[B, R, W], ids 0..C-1 or IGNORE_LABEL.

    Returns:
        log_z: f32[B, R, 1, W], logarithm of the sum of exp(x) over classes.
        nats: f32[B, R, 1, W], the cross-entropy; meaningless for unlabelled pixels.
        is_label: bool[B, R, C, W], one-hot label.
        valid: bool[B, R, 1, W], whether the pixel is labelled.
    """
    log_z = log_sum_exp(x, bound)
    valid = jnp.expand_dims(labels != IGNORE_LABEL, CLASSES)
    # A comparison instead of a gather: XLA fuses it into the reduction.
    is_label = jax.nn.one_hot(labels, x.shape[CLASSES], dtype=bool, axis=CLASSES)
    of_label = jnp.where(is_label, x, 0.0).sum(CLASSES, keepdims=True)
    return log_z, log_z - of_label, is_label, valid


def _plain(x, bound, labels):
    """Sums the plain cross-entropy; used as `pixel_fn` of over_pixels."""
    log_z, nats, is_label, valid = pixel_nats(x, bound, labels)
    total = jnp.sum(jnp.where(valid, nats, 0.0))
    p = jnp.exp(x - log_z)
    return total, jnp.where(valid, p - is_label.astype(p.dtype), 0.0), None


def _shaped(x, bound, labels, form):
    """Sums the weighted, focal or smoothed cross-entropy; used as `pixel_fn`."""
    log_z, nats, is_label, valid = pixel_nats(x, bound, labels)
    # `pull` is the derivative of `value` with respect to `nats`.
    value, pull = nats, jnp.ones_like(nats)
    if form.focal_gamma:
        wrong = jnp.maximum(-jnp.expm1(-nats), _TINY)  # 1 - p_y.
        factor = wrong**form.focal_gamma
        value = factor * nats
        pull = factor * (1 + form.focal_gamma * nats * jnp.exp(-nats) / wrong)
    each = form.class_weights or (1.0,) * x.shape[CLASSES]
    weights = jnp.asarray(each, jnp.float32).reshape(1, 1, -1, 1)
    if form.class_weights:
        of_label = jnp.where(is_label, weights, 0.0).sum(CLASSES, keepdims=True)
        value, pull = of_label * value, of_label * pull
    target = jnp.where(is_label, pull, 0.0)
    if form.label_smoothing:
        spread = form.label_smoothing / x.shape[CLASSES] * weights
        hard = (1 - form.label_smoothing) * pull
        # Uses one sum over classes: on CPUs, each sum needs an array as large as x.
        target = jnp.where(is_label, hard + spread, spread)
        pull = hard + jnp.sum(spread)
        value = pull * log_z - jnp.sum(target * x, axis=CLASSES, keepdims=True)
    d = pull * jnp.exp(x - log_z) - target
    return jnp.sum(jnp.where(valid, value, 0.0)), jnp.where(valid, d, 0.0), None
