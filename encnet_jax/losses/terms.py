"""Computes the terms of the segmentation loss and adds them up."""

from collections.abc import Iterable
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp

from encnet_jax.labels import IGNORE_LABEL
from encnet_jax.losses import LOSSES
from encnet_jax.losses.hard_pixels import hard_labels
from encnet_jax.losses.labels import thinned_labels, total_weight

Terms = dict[str, jax.Array]


class Inputs:
    """The inputs of loss terms, and values that several terms need.

    Attributes:
        outputs: outputs of the network for a batch.
        labels: uint8[B, H, W], ids 0..C-1 or IGNORE_LABEL.
        loss: section `loss` of the configuration, or an object with the same fields.
        model: section `model` of the configuration, or None.
        axis_name: name of the pmap axis; None for one device.
        grid: arguments of upsampled_cross_entropy: {'align_corners': ..., 'row_blocks':
            ...}.
    """

    def __init__(
        self,
        outputs: dict[str, Any],
        labels: jax.Array,
        loss: Any,
        *,
        align_corners: bool,
        model: Any = None,
        axis_name: str | None = None,
    ):
        """Stores the arguments; properties are computed when they are first used."""
        self.outputs, self.labels, self.loss = outputs, labels, loss
        self.model, self.axis_name = model, axis_name
        self.grid = {"align_corners": align_corners, "row_blocks": loss.row_blocks}

    @cached_property
    def all_targets(self) -> dict[str, jax.Array]:
        """The labels for 'logits' and for 'aux_logits', before hard example mining.

        If loss.labels is 'thinned', the labels are subsampled to the size of the
        logits; see thinned_labels. Otherwise the labels have the size of the image.
        """
        thin = self.loss.labels == "thinned"
        return {
            name: jnp.asarray(thinned_labels(self.labels, self.outputs[name]))
            if thin
            else self.labels
            for name in ("logits", "aux_logits")
            if name in self.outputs
        }

    @cached_property
    def targets(self) -> dict[str, jax.Array]:
        """The labels for 'logits' and for 'aux_logits', after hard example mining.

        Mining replaces the labels of easy pixels by IGNORE_LABEL; see hard_labels.
        """
        threshold, min_kept = self.loss.ohem_threshold, self.loss.ohem_min_kept
        if not (threshold or min_kept):
            return self.all_targets
        return {
            name: hard_labels(
                self.outputs[name],
                target,
                threshold=threshold,
                min_kept=min_kept,
                axis_name=self.axis_name,
                **self.grid,
            )
            for name, target in self.all_targets.items()
        }

    @cached_property
    def has_label(self) -> jax.Array:
        """Whether each image has a labelled pixel, bool[B]."""
        return jnp.any(self.labels != IGNORE_LABEL, axis=(1, 2))

    @cached_property
    def totals(self) -> dict[str, jax.Array]:
        """The denominators of the loss terms, f32[] each, summed over all devices.

        'logits' and 'aux_logits' are sums of class weights over the labelled pixels;
        'images' is the number of images with a labelled pixel. A denominator of 0 is
        replaced by 1.
        """
        weights = tuple(self.loss.class_weights)
        counts = [total_weight(x, weights) for x in self.targets.values()]
        images = jnp.sum(self.has_label).astype(jnp.float32)
        stacked = jnp.stack([*counts, images])
        if self.axis_name is not None:
            stacked = jax.lax.psum(stacked, self.axis_name)
        stacked = jnp.where(stacked > 0, stacked, 1.0)
        return dict(zip((*self.targets, "images"), stacked, strict=True))


def add_up(inputs: Inputs, names: Iterable[str]) -> tuple[jax.Array, Terms]:
    """Returns the weighted sum of loss terms, and the terms.

    Args:
        inputs: inputs of the terms.
        names: names of terms. Terms with weight 0, and terms that need an output that
            the network does not return, are left out.

    Returns:
        Tuple of the weighted sum, f32[], and the unweighted terms, {'loss_' + name:
        f32[]}. Each value is this device's contribution.
    """
    total: Any = 0.0
    terms: Terms = {}
    for name in names:
        facts = LOSSES.registration(name).facts
        weight = getattr(inputs.loss, facts["weight"], 0) if "weight" in facts else 1
        reads = facts.get("reads", ("logits",))
        if not weight or any(output not in inputs.outputs for output in reads):
            continue
        found = LOSSES.get(name)(inputs)
        found = found if isinstance(found, dict) else {name: found}
        for part, share in found.items():
            terms[f"loss_{part}"] = share
            total += weight * share
    return total, terms
