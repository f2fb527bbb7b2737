"""Class weights of a run: given, counted at its start, or those of its checkpoint."""

import jax
import numpy as np

from encnet_jax.data import Dataset
from encnet_jax.data.checks import survey
from encnet_jax.data.checks.class_weights import class_weights
from encnet_jax.data.pipelines import order
from encnet_jax.errors import UserError
from encnet_jax.pods import distributed


def class_weights_of(loss, dataset: Dataset, saved_loss=None) -> tuple[float, ...]:
    """Returns the class weights that the loss is to use; none if it uses none.

    Args:
        loss: section `loss` of the resolved configuration.
        dataset: open; its data.train_split is counted.
        saved_loss: section `loss` of the checkpoint from which the run resumes, or
            None. Its counted weights are reused, so that no image is read again.

    Raises:
        UserError: an image to be counted cannot be read.
    """
    rule, weights = loss.class_weighting, tuple(loss.class_weights)
    if not rule or weights:
        return weights
    if saved_loss is not None and saved_loss.class_weighting == rule:
        return tuple(saved_loss.class_weights)
    return _counted(rule, dataset, dataset.data.train_split)


def _counted(rule: str, dataset: Dataset, split: str) -> tuple[float, ...]:
    """Counts the labels of a split, each process its share; process 0 prints them."""
    share = order.process_share(
        dataset.num_labelled(split), jax.process_index(), jax.process_count()
    )
    report = survey.check_split(dataset.source, split, share)
    # Training skips unreadable images up to data.max_unreadable_share, too.
    if report.problems and not dataset.data.max_unreadable_share:
        raise UserError(report.problems[0])
    classes = slice(dataset.info.num_classes)
    counts = np.stack([report.pixels[classes], report.pixels_beside[classes]])
    weights = class_weights(rule, *distributed.sum_over_processes(counts))
    if jax.process_index() == 0:
        print(f"loss.class_weights, {rule} of {split}: {weights}")
    return weights
