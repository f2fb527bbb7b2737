"""What differs between kinds of problems; the loop is the same for all."""

from collections.abc import Callable
from typing import NamedTuple

from encnet_jax import models
from encnet_jax.losses import segmentation_loss


class Task(NamedTuple):
    """A kind of problem.

    Attributes:
        build_model: (config, num_classes, axis_name) -> module.
        loss: (outputs, batch, config, axis_name) -> (share of the loss, its terms).
    """

    build_model: Callable
    loss: Callable


def _build_segmenter(config, num_classes, axis_name):
    return models.build(config.model, num_classes, axis_name)


def _segmentation_loss(outputs, batch, config, axis_name):
    return segmentation_loss(
        outputs,
        batch["label"],
        se_weight=config.loss.se_weight,
        aux_weight=config.loss.aux_weight,
        align_corners=config.model.align_corners,
        row_blocks=config.loss.row_blocks,
        axis_name=axis_name,
    )


TASKS = {"segmentation": Task(_build_segmenter, _segmentation_loss)}
