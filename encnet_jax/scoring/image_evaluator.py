"""Evaluates image classifiers: sums one confusion matrix over all images."""

import itertools
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from encnet_jax.errors import UserError
from encnet_jax.pods import distributed, parallel
from encnet_jax.scoring.evaluator import local_batch_size, progress_bar
from encnet_jax.scoring.metrics import ConfusionMatrix, count_pairs
from encnet_jax.scoring.protocols.whole_images import class_ids

NO_LABEL = -1  # Label of the black images that pad an incomplete batch.
TOP = 5


class ImageCounts(ConfusionMatrix):
    """Confusion matrix of an image classifier: counts images instead of pixels.

    Attributes:
        within_top: number of images whose label has one of the five largest logits.
    """

    within_top: int = 0


def count_step(
    variables: dict,
    batch: dict,
    *,
    model: nn.Module,
    normalise: Callable,
    num_classes: int,
) -> tuple[jax.Array, jax.Array]:
    """Classifies a batch of images and counts the results.

    Args:
        variables: variables of the model.
        batch: {'image': uint8[B, S, S, 3], 'label': int32[B]}; images with NO_LABEL are
            not counted.
        model: see ImageEvaluator.
        normalise: function from pixels uint8[..., 3] to the model's input f32[..., 3].
        num_classes: C.

    Returns:
        (pairs, within_top). `pairs` is int32[C, C], the number of images with each
        (label, prediction) pair. `within_top` is int32[], the number of images whose
        label has one of the five largest logits.
    """
    outputs: Any = model.apply(variables, normalise(batch["image"]), train=False)
    logits = outputs["logits"]
    labels = batch["label"]
    pairs = count_pairs(labels, class_ids(logits), num_classes)
    of_label = jnp.take_along_axis(logits, jnp.maximum(labels, 0)[:, None], axis=-1)
    rank = jnp.sum(logits > of_label, axis=-1)
    finite = jnp.all(jnp.isfinite(logits), axis=-1)
    return pairs, jnp.sum((rank < TOP) & (labels != NO_LABEL) & finite)


class ImageEvaluator:
    """Evaluates an image classifier on all devices of all processes."""

    def __init__(
        self, model: nn.Module, normalise: Callable, num_classes: int, batch_size: int
    ):
        """Stores the arguments; nothing is compiled yet.

        Args:
            model: image classifier; its batch norms must have axis_name=None.
            normalise: see count_step.
            num_classes: C.
            batch_size: number of images in a batch, over all devices of all processes.
        """
        self.num_classes = num_classes
        self._batch_size = local_batch_size(batch_size)
        count = partial(
            count_step, model=model, normalise=normalise, num_classes=num_classes
        )
        layout = parallel.SHARED, parallel.ROWS
        self._count = parallel.mapped(count, layout, devices=jax.local_devices())

    def confusion(
        self, variables: dict, examples: Iterable[dict], total: int | None = None
    ) -> ImageCounts:
        """Returns one confusion matrix over the images of all processes.

        Args:
            variables: variables of the model, replicated on the local devices.
            examples: the examples that this process evaluates, dicts with 'image'
                uint8[S, S, 3] and 'label', an integer scalar.
            total: number of images of all processes, for the progress bar; None hides
                the bar.
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
        matrix = ImageCounts(self.num_classes)
        matrix.counts += distributed.sum_over_processes(counts)
        sums = distributed.sum_over_processes(np.array([images, within_top]))
        matrix.not_finite = int(sums[0]) - int(matrix.counts.sum())
        matrix.within_top = int(sums[1])
        return matrix

    def predict(self, variables: dict, examples: Iterable[dict]):
        """Raises UserError, because a classifier cannot predict label maps."""
        raise UserError(
            "this run classifies whole images, not pixels; expected a run trained with"
            " task = 'segmentation'"
        )


def _stack(members: tuple[dict, ...], batch_size: int) -> dict[str, np.ndarray]:
    """Stacks examples into a batch, padded with black images that have NO_LABEL."""
    images = np.stack([example["image"] for example in members])
    labels = np.stack([example["label"] for example in members]).astype(np.int32)
    missing = batch_size - len(members)
    return {
        "image": np.pad(images, ((0, missing), (0, 0), (0, 0), (0, 0))),
        "label": np.pad(labels, (0, missing), constant_values=NO_LABEL),
    }
