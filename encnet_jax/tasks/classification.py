"""Classification of whole images, by a backbone or by a network for 32x32 images."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import numpy as np

from encnet_jax import models
from encnet_jax.config import EvalConfig, LossConfig, ModelConfig
from encnet_jax.losses.classification import classification_loss
from encnet_jax.models import cifar
from encnet_jax.preprocess import Normaliser
from encnet_jax.scoring.image_evaluator import TOP, ImageCounts, ImageEvaluator
from encnet_jax.scoring.metrics import ConfusionMatrix
from encnet_jax.tasks.task import Measures, Task


def task(
    model: ModelConfig,
    loss: LossConfig,
    eval_config: EvalConfig,
    *,
    normalise: Normaliser,
    freeze_backbone: bool,
) -> Task:
    """Returns the classification task with the settings of a resolved configuration.

    Args:
        model, loss, eval_config: sections of the configuration.
        normalise: function from images, uint8[..., 3], to network input, f32[..., 3].
        freeze_backbone: whether the running statistics of the backbone's batch norms
            stay unchanged.
    """
    if model.name == "backbone":
        build = partial(_build_backbone, freeze_backbone=freeze_backbone)
        measure = _measure_backbone
        description = f"{model.backbone} classifier ({model.stem} stem)"
        fields: tuple[str, ...] = ("data.crop_size", "data.augment.base_size")
    else:
        build, measure = partial(cifar.build), _measure
        fields = ()  # Images are not resized.
        codes = f"{model.num_codes}k" if model.name == "encnet" else ""
        whose = " (authors)" if model.block == "authors" else ""
        description = f"{model.name} {codes}{model.width}d{whose}"
    return Task(
        build_model=partial(build, model),
        description=description,
        normalise=normalise,
        loss_fn=partial(_loss, label_smoothing=loss.label_smoothing),
        make_evaluator=partial(
            _evaluator, normalise=normalise, batch_size=eval_config.batch_size
        ),
        measure=measure,
        protocol_fields={"single": fields},
    )


def _build_backbone(
    model: ModelConfig,
    num_classes: int,
    axis_name: str | None = None,
    *,
    freeze_backbone: bool,
) -> nn.Module:
    network = models.build_classifier(model, num_classes, axis_name)
    return network.clone(freeze_backbone=freeze_backbone)


def _loss(outputs, batch, axis_name, *, label_smoothing: float):
    return classification_loss(outputs, batch["label"], axis_name, label_smoothing)


def _evaluator(
    model: nn.Module,
    num_classes: int,
    protocol: str | None = None,
    refine: str | None = None,
    sizes: Callable = tuple,
    *,
    normalise: Normaliser,
    batch_size: int,
) -> ImageEvaluator:
    del protocol, refine, sizes  # Not used by classification.
    return ImageEvaluator(model, normalise, num_classes, batch_size)


def _measure(matrix: ConfusionMatrix) -> Measures:
    accuracy = matrix.pixel_accuracy()
    images = matrix.counts.sum(axis=1)
    wrong = images - np.diag(matrix.counts)
    class_errors = np.where(images > 0, wrong / np.maximum(images, 1), np.nan)
    rule = "fraction of images whose largest logit is that of another class"
    return Measures({"error": 1 - accuracy}, accuracy, "error", class_errors, rule, {})


def _measure_backbone(matrix: ImageCounts) -> Measures:
    measures = _measure(matrix)
    scores = {"top1": matrix.pixel_accuracy()}
    if len(matrix.counts) > TOP:
        scores["top5"] = matrix.within_top / max(int(matrix.counts.sum()), 1)
    return measures._replace(
        scores=scores,
        rule="top1: the label has the largest logit; top5: one of the five largest; of"
        " the centre crop (data.crop_size) of the image at short side base_size",
    )
