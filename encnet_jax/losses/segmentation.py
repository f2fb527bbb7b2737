"""The segmentation loss: pixel, presence and auxiliary terms."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float, UInt8

from encnet_jax.labels import IGNORE_LABEL
from encnet_jax.losses.cross_entropy import upsampled_cross_entropy
from encnet_jax.losses.dice import dice_loss
from encnet_jax.losses.hard_pixels import hard_labels
from encnet_jax.losses.labels import (
    class_presence,
    thinned_labels,
    total_weight,
)


class PixelOptions(NamedTuple):
    """Departures from the paper's pixel loss; the defaults are none.

    Attributes:
        class_weights, focal_gamma, label_smoothing: see upsampled_cross_entropy.
        ohem_threshold, ohem_min_kept: of hard_labels; 0 and 0 leave no pixel out.
        dice_weight: of a Dice term on the main logits.
    """

    class_weights: tuple[float, ...] = ()
    focal_gamma: float = 0.0
    label_smoothing: float = 0.0
    ohem_threshold: float = 0.0
    ohem_min_kept: int = 0
    dice_weight: float = 0.0


PAPER = PixelOptions()


def segmentation_loss(
    outputs: dict[str, Float[jax.Array, "B ..."]],
    labels: UInt8[jax.Array, "B H W"],
    *,
    se_weight: float,
    aux_weight: float,
    align_corners: bool = True,
    row_blocks: int = 20,
    thin_labels: bool = False,
    options: PixelOptions = PAPER,
    axis_name: str | None = None,
) -> tuple[Float[jax.Array, ""], dict[str, Float[jax.Array, ""]]]:
    """Adds up the pixel, presence and auxiliary terms.

    Pixel terms are divided by the number of labelled pixels (of their own grid, where
    labels are thinned; of those kept, where easy ones are left out; by the sum of their
    class weights, where there are any), presence terms by the number of images that
    have any times C, all over all devices. What is returned is this device's share: the
    shares of all devices sum to the loss.

    Args:
        outputs: of the network; 'se_logits', 'aux_logits', 'aux_se_logits' if present.
        labels: uint8[B, H, W], ids 0..C-1 and IGNORE_LABEL.
        se_weight: alpha of the paper, of each presence term.
        aux_weight: of the auxiliary pixel term.
        align_corners, row_blocks: see upsampled_cross_entropy.
        thin_labels: bring the labels to the logits' grid (thinned_labels) instead of
            the logits to the labels'.
        options: departures from the paper's pixel terms.
        axis_name: pmap axis, or None.

    Returns:
        (f32[] share of the loss, {'loss_pixel', 'loss_se', ...: f32[] unweighted
        shares}). An all-ignored batch gives zeros.

    Source: section 2 of the paper; weights as in its Figure 5.
    """
    grid = {"align_corners": align_corners, "row_blocks": row_blocks}
    every = {
        name: thinned_labels(labels, outputs[name]) if thin_labels else labels
        for name in ("logits", "aux_logits")
        if name in outputs
    }
    targets = _mined(outputs, every, options, grid, axis_name)
    totals = _totals(targets, labels, options.class_weights, axis_name)
    terms = _pixel_terms(outputs, targets, totals, options, grid)
    terms |= _presence_terms(outputs, labels, totals)
    if options.dice_weight:
        terms["loss_dice"] = dice_loss(
            outputs["logits"], every["logits"], axis_name=axis_name, **grid
        )
    weights = {
        "loss_pixel": 1.0,
        "loss_dice": options.dice_weight,
        "loss_se": se_weight,
        "loss_aux_se": se_weight,
        "loss_aux": aux_weight,
    }
    return sum(x * terms[name] for name, x in weights.items() if name in terms), terms


def _totals(targets, labels, class_weights, axis_name) -> dict[str, jax.Array]:
    """Returns what terms are divided by, of all devices; 1 where there is nothing.

    Under the names of `targets` the weight of their pixels, under 'images' the number
    of images with a labelled pixel. One collective for all of them.
    """
    counts = [total_weight(x, class_weights) for x in targets.values()]
    images = jnp.sum(_is_labelled(labels)).astype(jnp.float32)
    counts = jnp.stack([*counts, images])
    if axis_name is not None:
        counts = jax.lax.psum(counts, axis_name)
    return dict(
        zip((*targets, "images"), jnp.where(counts > 0, counts, 1.0), strict=True)
    )


def _is_labelled(labels) -> jax.Array:
    """Returns bool[B]: whether an image has a labelled pixel."""
    return jnp.any(labels != IGNORE_LABEL, axis=(1, 2))


def _pixel_terms(outputs, targets, totals, options, grid) -> dict[str, jax.Array]:
    def term(name):
        total = upsampled_cross_entropy(
            outputs[name],
            targets[name],
            class_weights=options.class_weights,
            focal_gamma=options.focal_gamma,
            label_smoothing=options.label_smoothing,
            **grid,
        )
        return total / totals[name]

    terms = {"loss_pixel": "logits", "loss_aux": "aux_logits"}
    return {name: term(x) for name, x in terms.items() if x in outputs}


def _presence_terms(outputs, labels, totals) -> dict[str, jax.Array]:
    num_classes = outputs["logits"].shape[-1]
    presence = class_presence(labels, num_classes)
    counts = _is_labelled(labels)[:, None]

    def term(name):
        each = optax.sigmoid_binary_cross_entropy(outputs[name], presence)
        total = jnp.sum(each * counts.astype(each.dtype))
        return total / (totals["images"] * num_classes)

    terms = {"loss_se": "se_logits", "loss_aux_se": "aux_se_logits"}
    return {name: term(x) for name, x in terms.items() if x in outputs}


def _mined(outputs, targets, options, grid, axis_name) -> dict[str, jax.Array]:
    """Returns the targets of each pixel term, without the pixels it leaves out."""
    if not (options.ohem_threshold or options.ohem_min_kept):
        return targets
    return {
        name: hard_labels(
            outputs[name],
            target,
            threshold=options.ohem_threshold,
            min_kept=options.ohem_min_kept,
            axis_name=axis_name,
            **grid,
        )
        for name, target in targets.items()
    }
