"""Class weights of a run: given, counted when it starts, or kept from its start."""

import jax
import numpy as np

from encnet_jax import config as config_lib
from encnet_jax.data import Dataset
from encnet_jax.data.checks import survey
from encnet_jax.data.checks.class_weights import class_weights
from encnet_jax.data.pipelines import order
from encnet_jax.errors import UserError
from encnet_jax.scoring.evaluator import sum_over_processes


def with_class_weights(config, dataset: Dataset, saved=None):
    """Returns the configuration with the weights that its loss is to use.

    Args:
        config: resolved configuration.
        dataset: its data set, open.
        saved: the configuration of the checkpoint that the run goes on from, or None.
            Its counted weights are taken, so that no image is read again.

    Returns:
        config, with loss.class_weights in place of a rule's empty ones; an equal one
        where no rule is set.

    Raises:
        UserError: an image that a rule counts cannot be read.
    """
    rule, weights = config.loss.class_weighting, tuple(config.loss.class_weights)
    if rule and not weights:
        kept = None if saved is None else config_lib.completed(saved).loss
        if kept is not None and kept.class_weighting == rule:
            weights = tuple(kept.class_weights)
        else:
            weights = _counted(rule, dataset, config.data.train_split)
    return config_lib.replaced(config, {"loss.class_weights": weights})


def _counted(rule: str, dataset: Dataset, split: str) -> tuple[float, ...]:
    """Counts the labels of a split, each process its share; process 0 says so."""
    share = order.process_share(
        dataset.num_labelled(split), jax.process_index(), jax.process_count()
    )
    report = survey.check_split(dataset.source, split, share)
    # Broken images within data.max_unreadable_share are not trained on either.
    if report.problems and not dataset.data.max_unreadable_share:
        raise UserError(report.problems[0])
    classes = slice(dataset.info.num_classes)
    counts = np.stack([report.pixels[classes], report.pixels_beside[classes]])
    weights = class_weights(rule, *sum_over_processes(counts))
    if jax.process_index() == 0:
        print(f"loss.class_weights, {rule} of {split}: {weights}")
    return weights
