"""The segmentation loss: the weighted sum of its registered terms."""

from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
from jaxtyping import Float, UInt8

from encnet_jax.losses import LOSSES
from encnet_jax.losses.terms import Inputs, Terms, add_up
from encnet_jax.models.heads import HEADS


class PixelOptions(NamedTuple):
    """Changes to the paper's pixel loss; the defaults change nothing.

    Attributes:
        class_weights, focal_gamma, label_smoothing: see upsampled_cross_entropy.
        ohem_threshold, ohem_min_kept: see hard_labels; both 0: no mining.
        dice_weight: weight of a Dice term on the main logits.
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
    """Returns the segmentation loss that a configuration describes.

    Args:
        outputs: outputs of the network.
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
    """Returns the sum of pixel, presence and auxiliary terms, without a configuration.

    Pixel terms are divided by the number of labelled pixels or, with class weights, by
    the sum of their weights. If labels are thinned, pixels of the thinned grid are
    counted; pixels that hard example mining ignores are not. Presence terms are divided
    by C times the number of images with a labelled pixel. Counts cover all devices.

    Args:
        outputs: outputs of the network: 'logits' and, if present, 'se_logits',
            'aux_logits' and 'aux_se_logits'.
        labels: uint8[B, H, W], ids 0..C-1 and IGNORE_LABEL.
        se_weight: weight of each presence term, the paper's alpha.
        aux_weight: weight of the auxiliary pixel term.
        align_corners, row_blocks: see upsampled_cross_entropy.
        thin_labels: reduce the labels to the logits' grid (thinned_labels) instead of
            upsampling the logits.
        options: changes to the paper's pixel terms.
        axis_name: pmap axis, or None.

    Returns:
        (f32[] share of the loss, {'loss_pixel', 'loss_se', ...: f32[] unweighted
        shares}). The shares of all devices add up to the loss. Terms of weight 0 are
        not computed. For a batch without labels, all values are 0.

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
