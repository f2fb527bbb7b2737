"""The loss of a piecewise-trained conditional random field."""

import jax

from encnet_jax.crf import piecewise, potentials
from encnet_jax.labels import IGNORE_LABEL
from encnet_jax.losses.labels import node_labels


def piecewise_loss(
    outputs: dict,
    labels: jax.Array,
    *,
    unary_weight: float,
    pairwise_weight: float,
    box: float,
    max_score_mib: float,
    align_corners: bool = True,
    axis_name: str | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Adds up the terms of nodes and of every relation's pairs.

    Each term is a mean over the labelled pieces of all devices. What is returned is
    this device's share: the shares of all devices sum to the loss.

    Args:
        outputs: of models.piecewise_crf.PiecewiseCRF in training.
        labels: uint8[B, H, W], ids 0..K-1 and IGNORE_LABEL.
        unary_weight: of the nodes' term.
        pairwise_weight: of each relation's.
        box, max_score_mib: see potentials.relation_pairs.
        align_corners: corner convention; see node_labels.
        axis_name: pmap axis, or None.

    Returns:
        (f32[] share of the loss, {'loss_unary', 'loss_surrounding', ...: f32[]
        unweighted shares}).

    Raises:
        UserError: pairwise scores do not fit.

    Source: see encnet_jax.crf.piecewise.
    """
    unary = outputs["logits"]
    labels = node_labels(labels, *unary.shape[1:3], align_corners)
    shared = {"ignore_label": IGNORE_LABEL, "axis_name": axis_name}
    terms = {"loss_unary": piecewise.unary_loss(unary, labels, **shared)}
    loss = unary_weight * terms["loss_unary"]
    for relation, net in outputs["pairwise"].items():
        pairs = potentials.relation_pairs(relation, net, box, max_score_mib)
        term = terms[f"loss_{relation}"] = piecewise.pairwise_loss(
            pairs, labels, **shared
        )
        loss += pairwise_weight * term
    return loss, terms
