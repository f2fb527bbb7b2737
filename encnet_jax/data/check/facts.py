"""Computes class weights and other configuration values from the data; checks data."""

from typing import Any

import jax
import numpy as np

from encnet_jax.config import EvalConfig, Facts
from encnet_jax.data.check import survey, teachable
from encnet_jax.data.check.class_weights import check_length, class_weights
from encnet_jax.data.pipelines import order
from encnet_jax.data.pipelines.dataset import Dataset
from encnet_jax.errors import UserError
from encnet_jax.pods import distributed

_SIZES_READ = 32  # Number of validation images whose size is read, evenly spaced.


def facts(dataset: Dataset, loss: Any, saved_loss: Any = None) -> Facts:
    """Returns the number of training images and the class weights of the loss.

    The class weights are those of loss.class_weights. If loss.class_weights is empty
    and loss.class_weighting is set, the weights are computed from the training masks.

    Args:
        dataset: opened data set.
        loss: section `loss` of the configuration.
        saved_loss: section `loss` of the configuration that a resumed run has saved, or
            None. If class_weighting is the same in both sections, the saved class
            weights are used.

    Raises:
        UserError: the training split is missing, or an example cannot be read while
            the weights are computed. Unless data.max_unreadable_share is 0, unreadable
            examples are skipped instead.
    """
    split = dataset.data.train_split
    rule, weights = loss.class_weighting, tuple(loss.class_weights)
    if rule and not weights:
        if saved_loss is not None and saved_loss.class_weighting == rule:
            weights = tuple(saved_loss.class_weights)
        else:
            weights = _counted(rule, dataset, split)
    return Facts(dataset.num_examples(split), weights)


def scored_pixels(dataset: Dataset, settings: EvalConfig, protocol: str) -> float:
    """Estimates the number of pixels that the network processes in one validation.

    The estimate uses the sizes of up to 32 images. Pixels in the overlap of sliding
    windows are counted once. The result is 0 if there is no validation split. For
    classification, the result is also 0, because validation is fast.

    Args:
        dataset: opened data set.
        settings: section `eval` of the resolved configuration.
        protocol: value of train.val_protocol, such as 'single'.
    """
    split = dataset.data.val_split
    if not split or dataset.info.task != "segmentation":
        return 0.0
    total = dataset.num_examples(split)
    total = min(total, settings.max_images or total)
    if protocol == "centre_crop":
        return float(total * settings.crop_size**2)
    number = min(total, _SIZES_READ)
    share = order.process_share(number, jax.process_index(), jax.process_count())
    found = dataset.image_sizes(split, [i * total // number for i in share])
    own = np.array([sum(h * w for h, w in found), len(found)], np.int64)
    # All processes get the same sums, even if one of them cannot read an image.
    pixels, images = map(int, distributed.sum_over_processes(own))
    views = 1.0
    if protocol != "single":
        views = sum(scale**2 for scale in settings.scales) * (1 + settings.flip)
    return total * pixels / max(images, 1) * dataset.data.input_scale**2 * views


def _counted(rule: str, dataset: Dataset, split: str) -> tuple[float, ...]:
    """Computes class weights from the labels of a split.

    Each process counts the pixels of its part of the split. Process 0 prints the
    weights.
    """
    share = order.process_share(
        dataset.num_labelled(split), jax.process_index(), jax.process_count()
    )
    report = survey.check_split(dataset.source, split, share)
    # Training also skips unreadable images, up to data.max_unreadable_share.
    if report.problems and not dataset.data.max_unreadable_share:
        raise UserError(report.problems[0])
    classes = slice(dataset.info.num_classes)
    counts = np.stack([report.pixels[classes], report.pixels_beside[classes]])
    weights = class_weights(rule, *distributed.sum_over_processes(counts))
    if jax.process_index() == 0:
        print(f"loss.class_weights, {rule} of {split}: {weights}")
    return weights


def sizes(dataset: Dataset) -> dict[str, int]:
    """Returns the numbers of training and validation images.

    Returns:
        {'images of SPLIT': number of images}, where SPLIT is the name of the split.

    Raises:
        UserError: a split is missing or has no labels.
    """
    splits = filter(None, (dataset.data.train_split, dataset.data.val_split))
    return {f"images of {name}": dataset.num_labelled(name) for name in splits}


def check(dataset: Dataset, loss: Any, *, max_images: int) -> None:
    """Checks the class weights and the data before training.

    Each process checks a different part of the validation images.

    Args:
        dataset: opened data set.
        loss: section `loss` of the configuration.
        max_images: number of validation images that the run uses; 0 for all.

    Raises:
        UserError: the number of class weights is wrong, a network cannot learn from the
            training masks, training and validation use the same files, or an example
            cannot be read.
    """
    data = dataset.data
    check_length(loss.class_weights, dataset.info)
    teachable.check(dataset, data.train_split, data.val_split)
    teachable.check_validation(
        dataset,
        data.val_split,
        max_images,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
