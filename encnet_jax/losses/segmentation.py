"""The segmentation loss: a weighted sum of registered terms."""

from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
from jaxtyping import Float, UInt8

from encnet_jax.losses import LOSSES
from encnet_jax.losses.terms import Inputs, Terms, add_up
from encnet_jax.models.heads import HEADS


class PixelOptions(NamedTuple):
    """Options of the pixel loss; the default values are those of the paper.

    Attributes:
        class_weights, focal_gamma, label_smoothing: see upsampled_cross_entropy.
        ohem_threshold, ohem_min_kept: arguments `threshold` and `min_kept` of
            hard_labels; if both are 0, the labels of easy pixels are kept.
        dice_weight: weight of the Dice loss of the main logits; see dice_loss.
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
    """Returns the segmentation loss, with the settings of a configuration.

    Args:
        outputs: outputs of the network.
        labels: uint8[B, H, W], ids 0..C-1 or IGNORE_LABEL.
        model, loss: sections `model` and `loss` of the resolved configuration.
        axis_name: name of the pmap axis; None for one device.

    Returns:
        Tuple of the loss, f32[], and its unweighted terms, {'loss_pixel': f32[], ...}.
        Each value is this device's contribution; the contributions of all devices add
        up to the loss or the term.
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
    """Returns the segmentation loss for given weights, without a configuration.

    The pixel loss and the auxiliary pixel loss are means over labelled pixels; with
    class weights, each pixel counts with the weight of its label. Pixels are counted
    after subsampling (`thin_labels`) and hard example mining. SE-losses are means over
    all classes and over the images with a labelled pixel. Pixels and images of all
    devices are counted.

    Args:
        outputs: outputs of the network: 'logits' and, if present, 'se_logits',
            'aux_logits' and 'aux_se_logits'.
        labels: uint8[B, H, W], ids 0..C-1 or IGNORE_LABEL.
        se_weight: weight of each SE-loss, alpha in the paper.
        aux_weight: weight of the auxiliary pixel loss.
        align_corners, row_blocks: see upsampled_cross_entropy.
        thin_labels: whether to subsample the labels to the resolution of the logits
            (see thinned_labels) instead of upsampling the logits.
        options: options of the pixel loss.
        axis_name: name of the pmap axis; None for one device.

    Returns:
        Tuple of the loss, f32[], and its unweighted terms, {'loss_pixel': f32[],
        'loss_se': f32[], ...}. Each value is this device's contribution; the
        contributions of all devices add up to the loss or the term. Terms with weight
        0 are left out. Without labelled pixels, all values are 0.

    Source: section 2 of the paper; weights as in Figure 5 of the paper.
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
