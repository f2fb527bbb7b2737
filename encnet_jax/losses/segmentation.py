"""The segmentation loss: the weighted sum of its registered terms."""

from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
from jaxtyping import Float, UInt8

from encnet_jax.losses import LOSSES
from encnet_jax.losses.terms import Inputs, Terms, add_up
from encnet_jax.models.heads import HEADS


class PixelOptions(NamedTuple):
    """Departures from the paper's pixel loss; the defaults are none.

    Attributes:
        class_weights, focal_gamma, label_smoothing: see upsampled_cross_entropy.
        ohem_threshold, ohem_min_kept: of hard_labels; 0 and 0: no mining.
        dice_weight: of a Dice term on the main logits.
    """

    class_weights: tuple[float, ...] = ()
    focal_gamma: float = 0.0
    label_smoothing: float = 0.0
    ohem_threshold: float = 0.0
    ohem_min_kept: int = 0
    dice_weight: float = 0.0


PAPER = PixelOptions()


def network_loss(
    outputs: dict[str, Any],
    labels: jax.Array,
    *,
    model: Any,
    loss: Any,
    axis_name: str | None = None,
) -> tuple[jax.Array, Terms]:
    """Adds up the terms of a configured network.

    Args:
        outputs: of the network.
        labels: uint8[B, H, W], ids 0..C-1 and IGNORE_LABEL.
        model, loss: sections of the resolved configuration.
        axis_name: pmap axis, or None.

    Returns:
        (f32[] share of the loss, {'loss_pixel', ...: f32[] unweighted shares}). The
        shares of all devices add up to the loss.
    """
    inputs = Inputs(
        outputs,
        labels,
        loss,
        model=model,
        align_corners=model.align_corners,
        axis_name=axis_name,
    )
    terms = HEADS.registration(model.name).facts.get("loss_terms")
    return add_up(inputs, LOSSES.names() if terms is None else terms)


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
    """Adds up the pixel, presence and auxiliary terms without a configuration.

    Pixel terms are divided by the number of labelled pixels, counted on the thinned
    grid if labels are thinned, and without the pixels that hard example mining ignores;
    with class weights, by the sum of the weights. Presence terms are divided by C times
    the number of images that have a labelled pixel. All counts are over all devices.

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
        shares}). The shares of all devices add up to the loss. Terms of weight 0 are
        not computed. A batch without labels gives zeros.

    Source: section 2 of the paper; weights as in its Figure 5.
    """
    loss = SimpleNamespace(
        se_weight=se_weight,
        aux_weight=aux_weight,
        row_blocks=row_blocks,
        labels="thinned" if thin_labels else "upsampled",
        **options._asdict(),
    )
    inputs = Inputs(
        outputs, labels, loss, align_corners=align_corners, axis_name=axis_name
    )
    return add_up(inputs, LOSSES.names())
