"""Segmentation: a class for every pixel."""

from encnet_jax import models
from encnet_jax.losses import PixelOptions, piecewise_loss, segmentation_loss
from encnet_jax.preprocess import normalise
from encnet_jax.scoring import protocols
from encnet_jax.scoring.evaluator import Evaluator
from encnet_jax.tasks import rules
from encnet_jax.tasks.task import Measures, Task


def _build_model(config, num_classes, axis_name):
    model = models.build(config.model, num_classes, axis_name)
    return model.clone(freeze_backbone=True) if config.train.freeze else model


def _describe_model(config) -> str:
    return f"{config.model.name}-{config.model.backbone} ({config.architecture})"


def _loss(outputs, batch, config, axis_name):
    if config.model.name == "piecewise_crf":
        return piecewise_loss(
            outputs,
            batch["label"],
            unary_weight=config.loss.unary_weight,
            pairwise_weight=config.loss.pairwise_weight,
            box=config.model.crf.box,
            max_score_mib=config.model.crf.max_score_mib,
            align_corners=config.model.align_corners,
            axis_name=axis_name,
        )
    return segmentation_loss(
        outputs,
        batch["label"],
        se_weight=config.loss.se_weight,
        aux_weight=config.loss.aux_weight,
        align_corners=config.model.align_corners,
        row_blocks=config.loss.row_blocks,
        thin_labels=config.loss.labels == "thinned",
        options=pixel_options(config.loss),
        axis_name=axis_name,
    )


def pixel_options(loss) -> PixelOptions:
    """Returns what the `loss` fields of a resolved configuration ask for."""
    fields = {name: loss[name] for name in PixelOptions._fields}
    return PixelOptions(**fields | {"class_weights": tuple(loss.class_weights)})


def _measure(matrix, config) -> Measures:
    absent, accuracy = config.eval.absent_classes, matrix.pixel_accuracy()
    mean_iou = matrix.mean_iou(absent)
    scores = {"mean_iou": mean_iou, "pixel_accuracy": accuracy}
    scores |= rules.benchmark_scores(config.data.name, mean_iou, accuracy)
    rule = rules.describe(config.data.name, absent)
    pixels = {"pixels": int(matrix.counts.sum())}
    return Measures(scores, mean_iou, "iou", matrix.iou(), rule, pixels)


TASK = Task(
    build_model=_build_model,
    describe_model=_describe_model,
    normalise=normalise,
    loss=_loss,
    make_evaluator=Evaluator,
    measure=_measure,
    protocol_fields=protocols.FIELDS,
)
