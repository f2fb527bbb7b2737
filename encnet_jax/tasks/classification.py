"""Classification of whole images: the loss, and every image counted once."""

import itertools
from collections.abc import Callable, Iterable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from encnet_jax.errors import UserError
from encnet_jax.labels import IGNORE_LABEL
from encnet_jax.models import cifar
from encnet_jax.pods import parallel
from encnet_jax.preprocess import CIFAR_MEAN, normalise
from encnet_jax.scoring.evaluator import (
    evaluation_batch_size,
    progress_bar,
    sum_over_processes,
)
from encnet_jax.scoring.metrics import ConfusionMatrix, count_pairs
from encnet_jax.scoring.protocols.whole_images import class_ids
from encnet_jax.tasks.task import Measures, Task


def normaliser(config) -> Callable[[jax.Array], jax.Array]:
    """Returns uint8 [..., 3] -> f32, by CIFAR-10's mean and data.channel_std."""
    return partial(normalise, mean=CIFAR_MEAN, std=config.data.channel_std)


def classification_loss(
    outputs: dict[str, jax.Array], labels: jax.Array, axis_name: str | None = None
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns cross-entropy and error, each divided by the images of all devices.

    What is returned is this device's share: the shares of all devices sum to the mean.

    Args:
        outputs: 'logits' f32[B, C].
        labels: uint8[B], ids 0..C-1.
        axis_name: pmap axis, or None.

    Returns:
        (f32[] share of the loss, {'error': f32[] share of the wrong images in [0, 1]}).
    """
    logits, labels = outputs["logits"], labels.astype(jnp.int32)
    num_images = len(labels)
    if axis_name is not None:
        num_images *= jax.lax.axis_size(axis_name)
    each = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    wrong = jnp.argmax(logits, axis=-1) != labels
    return jnp.sum(each) / num_images, {"error": jnp.sum(wrong) / num_images}


def count_step(
    variables: dict, batch: dict, *, model, normalise: Callable, num_classes: int
) -> jax.Array:
    """Returns int32[C, C] pairs (label, prediction) of a batch with label uint8[B]."""
    outputs = model.apply(variables, normalise(batch["image"]), train=False)
    predictions = class_ids(outputs["logits"])
    return count_pairs(batch["label"], predictions, num_classes)


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
    ) -> ConfusionMatrix:
        """Counts every image of this process's examples, summed over all processes.

        Args:
            variables: replicated on the local devices.
            examples: dicts with image uint8[S, S, 3], label uint8[].
            total: of all processes, for the progress bar; None shows none.
        """
        examples = iter(examples)
        counts, images = np.zeros((self.num_classes, self.num_classes), np.int64), 0
        with progress_bar(total) as bar:
            while members := tuple(itertools.islice(examples, self._batch_size)):
                batch = _stack(members, self._batch_size)
                pairs = self._count(variables, parallel.shard(batch))
                counts += np.asarray(pairs, np.int64).sum(0)
                images += len(members)
                bar.update(len(members))
        matrix = ConfusionMatrix.from_counts(sum_over_processes(counts))
        images = sum_over_processes(np.array([images]))
        matrix.not_finite = int(images[0]) - int(matrix.counts.sum())
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
    labels = np.stack([example["label"] for example in members])
    missing = batch_size - len(members)
    return {
        "image": np.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0))),
        "label": np.pad(labels, (0, missing), constant_values=IGNORE_LABEL),
    }


def _build_model(config, num_classes, axis_name):
    return cifar.build(config.model, num_classes, axis_name)


def _describe_model(config) -> str:
    codes = f"{config.model.num_codes}k" if config.model.name == "encnet" else ""
    whose = " (authors)" if config.model.block == "authors" else ""
    return f"{config.model.name} {codes}{config.model.width}d{whose}"


def _loss(outputs, batch, config, axis_name):
    return classification_loss(outputs, batch["label"], axis_name)


def _measure(matrix, config) -> Measures:
    # Every "pixel" of this matrix is an image.
    accuracy = matrix.pixel_accuracy()
    images = matrix.counts.sum(axis=1)
    wrong = images - np.diag(matrix.counts)
    class_errors = np.where(images > 0, wrong / np.maximum(images, 1), np.nan)
    rule = "the share of images whose largest logit is another class's"
    return Measures({"error": 1 - accuracy}, accuracy, "error", class_errors, rule, {})


def task(config) -> Task:
    """Returns the task of a resolved configuration."""
    return Task(
        build_model=_build_model,
        describe_model=_describe_model,
        normalise=normaliser(config),
        loss=_loss,
        make_evaluator=ImageEvaluator,
        measure=_measure,
        protocol_fields={"single": ()},  # Images enter as they are.
    )
