"""What differs between kinds of problems; the loop is the same for all."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from encnet_jax import data, models
from encnet_jax.errors import UserError
from encnet_jax.losses import segmentation_loss
from encnet_jax.models import cifar
from encnet_jax.preprocess import normalise
from encnet_jax.scoring import protocols
from encnet_jax.scoring.evaluator import Evaluator
from encnet_jax.tasks import classification, rules


class Measures(NamedTuple):
    """What a confusion matrix says, in a task's own terms.

    Attributes:
        scores: name -> in [0, 1].
        best: what checkpoints are compared by, in [0, 1], larger is better.
        class_score: the name of the classes' scores.
        class_scores: f64[C] in [0, 1], NaN for classes that never occur.
        rule: how the scores count, in words.
        counted: 'pixels' -> their number, where it is not that of the images.
    """

    scores: dict[str, float]
    best: float
    class_score: str
    class_scores: np.ndarray
    rule: str
    counted: dict[str, int]


class Task(NamedTuple):
    """A kind of problem.

    Attributes:
        build_model: (config, num_classes, axis_name) -> module.
        describe_model: (config) -> a few words for reports.
        normalise: uint8 [..., 3] -> f32 [..., 3], what the module takes.
        loss: (outputs, batch, config, axis_name) -> (share of the loss, its terms).
        make_evaluator: (module, config, num_classes) -> see scoring.evaluator.
        measure: (confusion matrix, config) -> Measures.
        protocol_fields: protocol -> the fields that belong to it, for reports.
    """

    build_model: Callable
    describe_model: Callable
    normalise: Callable
    loss: Callable
    make_evaluator: Callable
    measure: Callable
    protocol_fields: dict[str, tuple[str, ...]]


def open_dataset(config) -> data.Dataset:
    """Opens the configuration's data set.

    Raises:
        UserError: it is for another task, unknown, or not there.
    """
    info = data.dataset_info(config.data)
    if info.task != config.task:
        raise UserError(
            f"task is {config.task!r}, and data.name {info.name!r} is a data set for"
            f" {info.task}: change one of them"
        )
    return data.open_dataset(config.data)


def _build_segmenter(config, num_classes, axis_name):
    return models.build(config.model, num_classes, axis_name)


def _describe_segmenter(config) -> str:
    return f"{config.model.name}-{config.model.backbone} ({config.architecture})"


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


def _measure_segmentation(matrix, config) -> Measures:
    absent, accuracy = config.eval.absent_classes, matrix.pixel_accuracy()
    mean_iou = matrix.mean_iou(absent)
    scores = {"mean_iou": mean_iou, "pixel_accuracy": accuracy}
    scores |= rules.benchmark_scores(config.data.name, mean_iou, accuracy)
    rule = rules.describe(config.data.name, absent)
    pixels = {"pixels": int(matrix.counts.sum())}
    return Measures(scores, mean_iou, "iou", matrix.iou(), rule, pixels)


def _build_classifier(config, num_classes, axis_name):
    return cifar.build(config.model, num_classes, axis_name)


def _describe_classifier(config) -> str:
    codes = f"{config.model.num_codes}k" if config.model.name == "encnet" else ""
    return f"{config.model.name} {codes}{config.model.width}d"


def _classification_loss(outputs, batch, config, axis_name):
    return classification.classification_loss(outputs, batch["label"], axis_name)


def _measure_classification(matrix, config) -> Measures:
    # Every "pixel" of this matrix is an image.
    accuracy = matrix.pixel_accuracy()
    images = matrix.counts.sum(axis=1)
    wrong = images - np.diag(matrix.counts)
    class_errors = np.where(images > 0, wrong / np.maximum(images, 1), np.nan)
    rule = "the share of images whose largest logit is another class's"
    return Measures({"error": 1 - accuracy}, accuracy, "error", class_errors, rule, {})


TASKS = {
    "segmentation": Task(
        build_model=_build_segmenter,
        describe_model=_describe_segmenter,
        normalise=normalise,
        loss=_segmentation_loss,
        make_evaluator=Evaluator,
        measure=_measure_segmentation,
        protocol_fields=protocols.FIELDS,
    ),
    "classification": Task(
        build_model=_build_classifier,
        describe_model=_describe_classifier,
        normalise=classification.normalise_cifar,
        loss=_classification_loss,
        make_evaluator=classification.ImageEvaluator,
        measure=_measure_classification,
        protocol_fields={"single": ()},  # Images enter as they are.
    ),
}
