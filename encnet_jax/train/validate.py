"""Evaluation during training: scores and a few images for TensorBoard."""

import functools
import itertools

import jax
import numpy as np

from encnet_jax import pictures, tasks
from encnet_jax.config import TrainConfig
from encnet_jax.data import Dataset
from encnet_jax.pods.signals import StopRequest
from encnet_jax.scoring import evaluator as evaluator_lib
from encnet_jax.scoring.quality import ClassPresence
from encnet_jax.train.logbook import Logbook


class Validator:
    """Scores the network on the validation split during training.

    Programs are compiled at the first evaluation and reused afterwards.
    """

    def __init__(
        self,
        task: tasks.Task,
        dataset: Dataset,
        logbook: Logbook,
        stop: StopRequest,
        *,
        train: TrainConfig,
        max_images: int,
    ):
        """Stores the arguments; nothing is compiled yet.

        Args:
            task: task of the run.
            dataset: the open data set, whose split data.val_split is scored.
            logbook: writes the scores and images.
            stop: request to stop, which ends an evaluation early.
            train: section `train` of the resolved configuration.
            max_images: number of images to score, from the start of the split; 0 for
                all.
        """
        self._task, self._dataset, self._logbook = task, dataset, logbook
        self._stop, self._max_images = stop, max_images
        self._protocol, self._num_pictures = train.val_protocol, train.num_pictures

    @functools.cached_property
    def _evaluator(self):
        num_classes = self._dataset.info.num_classes
        # Without an axis, because running statistics need no other devices.
        model = self._task.build_model(num_classes, None)
        sizes = functools.partial(
            evaluator_lib.image_sizes,
            self._dataset,
            self._dataset.data.val_split,
            self._max_images,
        )
        # Scores during training are unrefined: refinement costs more than scoring.
        return self._task.make_evaluator(
            model, num_classes, protocol=self._protocol, refine="none", sizes=sizes
        )

    def score(self, variables: dict, step: int) -> float:
        """Evaluates the network; logs all scores, and up to train.num_pictures images.

        Args:
            variables: {'params', 'batch_stats'} of the network.
            step: step of the variables.

        Returns:
            The score by which checkpoints are compared, in [0, 1]; larger is better.

        Raises:
            Stopped: a stop was requested; nothing was logged.
        """
        examples, total = evaluator_lib.watched_examples(
            self._dataset, self._dataset.data.val_split, self._max_images, self._stop
        )
        presence, watched = None, {}
        if self._task.labels_pixels:
            presence = ClassPresence(self._dataset.info.num_classes)
            watched = {"watches": (presence.add,)}
        matrix = self._evaluator.confusion(variables, examples, total, **watched)
        prefix = f"val/{self._protocol}"
        measures = self._task.measure(matrix)
        scores = {f"{prefix}/{name}": value for name, value in measures.scores.items()}
        if presence is not None:
            scores |= _presence_score(prefix, presence)
        self._logbook.scores(step, scores)
        if matrix.not_finite:
            self._logbook.note(
                f"warning: the scores of {matrix.not_finite} labelled pixels (or"
                " images) were NaN or infinite; these pixels or images are not counted"
            )
        if self._num_pictures:
            self._write_pictures(variables, step)
        return measures.best

    def _write_pictures(self, variables: dict, step: int) -> None:
        examples = self._dataset.eval_examples(
            self._dataset.data.val_split,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )
        few = itertools.islice(examples, self._num_pictures)
        for number, (example, ids) in enumerate(
            self._evaluator.predict(variables, few)
        ):
            panel = pictures.side_by_side(
                example["image"], example["label"], ids, self._dataset.info.colours
            )
            self._logbook.picture(step, f"val/{number}", panel)


def _presence_score(prefix: str, presence: ClassPresence) -> dict[str, float]:
    """Scores the prediction of which classes occur in each image.

    Returns:
        {name: average precision, averaged over classes}; {} if no class has an average
        precision.
    """
    precision = presence.average_precision()
    if precision is None or not np.isfinite(precision).any():
        return {}
    return {f"{prefix}/presence_ap": float(np.nanmean(precision))}
