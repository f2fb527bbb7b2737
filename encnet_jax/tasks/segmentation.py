"""Segmentation: the task of predicting a class for every pixel."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn

from encnet_jax import models
from encnet_jax.config import DataConfig, EvalConfig, LossConfig, ModelConfig
from encnet_jax.data import dataset_info
from encnet_jax.losses.segmentation import network_loss
from encnet_jax.preprocess import Normaliser
from encnet_jax.scoring.evaluator import Evaluator
from encnet_jax.scoring.forward import Forward
from encnet_jax.scoring.metrics import ConfusionMatrix
from encnet_jax.scoring.protocols import PROTOCOLS, reported_fields
from encnet_jax.tasks.task import Measures, Task


def task(
    model: ModelConfig,
    loss: LossConfig,
    data: DataConfig,
    eval_config: EvalConfig,
    *,
    normalise: Normaliser,
    freeze: str,
    architecture: str,
) -> Task:
    """Returns the segmentation task with the settings of a resolved configuration.

    Args:
        model, loss, data, eval_config: sections of the configuration.
        normalise: function from images, uint8[..., 3], to network input, f32[..., 3].
        freeze: field `train.freeze`, the part of the network whose batch norms keep
            their running statistics in training; '': no part.
        architecture: name of the architecture, for the description.
    """
    return Task(
        build_model=partial(_build, model=model, freeze=freeze),
        description=f"{model.name}-{model.backbone} ({architecture})",
        normalise=normalise,
        loss_fn=partial(_loss, model=model, loss=loss),
        make_evaluator=partial(
            _evaluator,
            normalise=normalise,
            model_config=model,
            data=data,
            eval_config=eval_config,
        ),
        measure=partial(_measure, data=data, absent_classes=eval_config.absent_classes),
        protocol_fields={name: reported_fields(name) for name in PROTOCOLS},
        labels_pixels=True,
    )


def _build(
    num_classes: int,
    axis_name: str | None = None,
    *,
    model: ModelConfig,
    freeze: str,
) -> nn.Module:
    network = models.build(model, num_classes, axis_name)
    frozen: dict[str, Any] = {f"freeze_{freeze}": True} if freeze else {}
    return network.clone(**frozen) if frozen else network


def _loss(outputs, batch, axis_name, **sections):
    return network_loss(outputs, batch["label"], axis_name=axis_name, **sections)


def _evaluator(
    model: nn.Module,
    num_classes: int,
    protocol: str | None = None,
    refine: str | None = None,
    with_calibration: bool = False,
    level_class: int | None = None,
    sizes: Callable = tuple,
    *,
    normalise: Normaliser,
    model_config: ModelConfig,
    data: DataConfig,
    eval_config: EvalConfig,
) -> Evaluator:
    forward = Forward.of(model, num_classes, normalise, model_config, data.input_scale)
    return Evaluator(
        forward,
        eval_config,
        protocol=protocol,
        refine=refine,
        with_calibration=with_calibration,
        level_class=level_class,
        sizes=sizes,
    )


def _measure(
    matrix: ConfusionMatrix, *, data: DataConfig, absent_classes: str
) -> Measures:
    info = dataset_info(data)
    accuracy, mean_iou = matrix.pixel_accuracy(), matrix.mean_iou(absent_classes)
    scores = {"mean_iou": mean_iou, "pixel_accuracy": accuracy}
    scores |= info.scores(mean_iou, accuracy, matrix.iou())
    absent = {"zero": "count as 0", "skip": "are excluded from the mean"}
    rule = f"{info.rule}; classes that never occur {absent[absent_classes]}"
    pixels = {"pixels": int(matrix.counts.sum())}
    return Measures(scores, mean_iou, "iou", matrix.iou(), rule, pixels)
