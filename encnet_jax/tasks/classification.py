"""Classification of whole images: the loss, and every image counted once."""

import itertools
from collections.abc import Callable, Iterable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from encnet_jax import models
from encnet_jax.errors import UserError
from encnet_jax.models import cifar
from encnet_jax.pods import parallel
from encnet_jax.preprocess import CIFAR_MEAN, PIXELS, normalise
from encnet_jax.scoring.evaluator import (
    evaluation_batch_size,
    progress_bar,
    sum_over_processes,
)
from encnet_jax.scoring.metrics import ConfusionMatrix, count_pairs
from encnet_jax.scoring.protocols.whole_images import class_ids
from encnet_jax.tasks.task import Measures, Task

NO_LABEL = -1  # Of images that only fill a batch.
_TOP = 5


def normaliser(config) -> Callable[[jax.Array], jax.Array]:
    """Returns uint8 [..., 3] -> f32: as a segmenter's, or by CIFAR-10's mean.

    A backbone must see what the network sees that starts from it.
    """
    if config.model.name == "backbone":
        return PIXELS[config.model.pixels]
    return partial(normalise, mean=CIFAR_MEAN, std=config.data.channel_std)


def classification_loss(
    outputs: dict[str, jax.Array],
    labels: jax.Array,
    axis_name: str | None = None,
    label_smoothing: float = 0.0,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns cross-entropy and error, each divided by the images of all devices.

    What is returned is this device's share: the shares of all devices sum to the mean.

    Args:
        outputs: 'logits' f32[B, C].
        labels: integer[B], ids 0..C-1.
        axis_name: pmap axis, or None.
        label_smoothing: in [0, 1), the share of the target spread over all classes.

    Returns:
        (f32[] share of the loss, {'error': f32[] share of the wrong images in [0, 1]}).
    """
    logits, labels = outputs["logits"], labels.astype(jnp.int32)
    num_images = len(labels)
    if axis_name is not None:
        num_images *= jax.lax.axis_size(axis_name)
    if label_smoothing:
        targets = jax.nn.one_hot(labels, logits.shape[-1])
        targets = optax.smooth_labels(targets, label_smoothing)
        each = optax.softmax_cross_entropy(logits, targets)
    else:
        each = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    wrong = jnp.argmax(logits, axis=-1).astype(jnp.int32) != labels
    return jnp.sum(each) / num_images, {"error": jnp.sum(wrong) / num_images}


class ImageCounts(ConfusionMatrix):
    """Pairs (label, prediction) of images, every "pixel" being one.

    Attributes:
        within_top: images whose label is among the five largest logits.
    """

    within_top: int = 0


def count_step(
    variables: dict, batch: dict, *, model, normalise, num_classes: int
) -> tuple[jax.Array, jax.Array]:
    """Counts a batch.

    Args:
        variables: of the model.
        batch: image uint8[B, S, S, 3], label int32[B], NO_LABEL counting nothing.
        model, normalise: see tasks.Task.
        num_classes: C.

    Returns:
        int32[C, C] pairs (label, prediction), int32[] images with the label among the
        five largest logits; a tie counts for the label.
    """
    logits = model.apply(variables, normalise(batch["image"]), train=False)["logits"]
    labels = batch["label"]
    pairs = count_pairs(labels, class_ids(logits), num_classes)
    of_label = jnp.take_along_axis(logits, jnp.maximum(labels, 0)[:, None], axis=-1)
    rank = jnp.sum(logits > of_label, axis=-1)
    finite = jnp.all(jnp.isfinite(logits), axis=-1)
    return pairs, jnp.sum((rank < _TOP) & (labels != NO_LABEL) & finite)


class ImageEvaluator:
    """Scores one classifier, as scoring.evaluator.Evaluator scores a segmenter."""

    def __init__(self, model, config, num_classes: int):
        """Takes a module without a batch-norm axis and the resolved configuration."""
        self.num_classes = num_classes
        self._batch_size = evaluation_batch_size(config)
        count = partial(
            count_step,
            model=model,
            normalise=normaliser(config),
            num_classes=num_classes,
        )
        self._count = jax.pmap(count, in_axes=(None, 0), devices=jax.local_devices())

    def confusion(
        self, variables: dict, examples: Iterable[dict], total: int | None = None
    ) -> ImageCounts:
        """Counts every image of this process's examples, summed over all processes.

        Args:
            variables: replicated on the local devices.
            examples: dicts with image uint8[S, S, 3], label integer[].
            total: of all processes, for the progress bar; None shows none.
        """
        examples = iter(examples)
        counts, images = np.zeros((self.num_classes, self.num_classes), np.int64), 0
        within_top = 0
        with progress_bar(total) as bar:
            while members := tuple(itertools.islice(examples, self._batch_size)):
                batch = _stack(members, self._batch_size)
                pairs, near = self._count(variables, parallel.shard(batch))
                counts += np.asarray(pairs, np.int64).sum(0)
                within_top += int(np.asarray(near).sum())
                images += len(members)
                bar.update(len(members))
        matrix = ImageCounts.from_counts(sum_over_processes(counts))
        sums = sum_over_processes(np.array([images, within_top]))
        matrix.not_finite = int(sums[0]) - int(matrix.counts.sum())
        matrix.within_top = int(sums[1])
        return matrix

    def predict(self, variables: dict, examples: Iterable[dict]):
        """Refuses: there are no label maps to draw."""
        raise UserError(
            "this run classifies whole images; wanted one that was trained with"
            " task = 'segmentation' to label pixels"
        )


def _stack(members: tuple[dict, ...], batch_size: int) -> dict[str, np.ndarray]:
    """Joins examples; a batch that is not full ends with images that do not count."""
    images = np.stack([example["image"] for example in members])
    labels = np.stack([example["label"] for example in members]).astype(np.int32)
    missing = batch_size - len(members)
    return {
        "image": np.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0))),
        "label": np.pad(labels, (0, missing), constant_values=NO_LABEL),
    }


def _build_model(config, num_classes, axis_name):
    return cifar.build(config.model, num_classes, axis_name)


def _describe_model(config) -> str:
    codes = f"{config.model.num_codes}k" if config.model.name == "encnet" else ""
    whose = " (authors)" if config.model.block == "authors" else ""
    return f"{config.model.name} {codes}{config.model.width}d{whose}"


def _loss(outputs, batch, config, axis_name):
    smoothing = config.loss.label_smoothing
    return classification_loss(outputs, batch["label"], axis_name, smoothing)


def _measure(matrix, config) -> Measures:
    accuracy = matrix.pixel_accuracy()
    images = matrix.counts.sum(axis=1)
    wrong = images - np.diag(matrix.counts)
    class_errors = np.where(images > 0, wrong / np.maximum(images, 1), np.nan)
    rule = "the share of images whose largest logit is another class's"
    return Measures({"error": 1 - accuracy}, accuracy, "error", class_errors, rule, {})


def _build_backbone(config, num_classes, axis_name):
    model = models.build_classifier(config.model, num_classes, axis_name)
    return model.clone(freeze_backbone=config.train.freeze == "backbone")


def _describe_backbone(config) -> str:
    return f"{config.model.backbone} classifier ({config.model.stem} stem)"


def _measure_backbone(matrix, config) -> Measures:
    measures = _measure(matrix, config)
    scores = {"top1": matrix.pixel_accuracy()}
    if len(matrix.counts) > _TOP:
        scores["top5"] = matrix.within_top / max(int(matrix.counts.sum()), 1)
    return measures._replace(
        scores=scores,
        rule="top1: the label has the largest logit; top5: one of the five largest; of"
        " the centre crop (data.crop_size) of the image at short side base_size",
    )


def task(config) -> Task:
    """Returns the task of a classifier: a backbone, or a network for 32x32 pixels."""
    found = Task(
        build_model=_build_model,
        describe_model=_describe_model,
        normalise=normaliser(config),
        loss=_loss,
        make_evaluator=ImageEvaluator,
        measure=_measure,
        protocol_fields={"single": ()},  # Images enter as they are.
    )
    if config.model.name != "backbone":
        return found
    return found._replace(
        build_model=_build_backbone,
        describe_model=_describe_backbone,
        measure=_measure_backbone,
        protocol_fields={"single": ("data.crop_size", "data.augment.base_size")},
    )
