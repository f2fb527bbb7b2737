"""Evaluation during training: a score and a few pictures for TensorBoard."""

import itertools

import jax

from encnet_jax import tasks
from encnet_jax.eval_lib import Evaluator
from encnet_jax.report import pictures


class Validator:
    """Scores the validation split; its compiled programs serve every time."""

    def __init__(self, config, dataset, logbook):
        """Takes the resolved configuration, the open data set, where results go."""
        self._config, self._dataset, self._logbook = config, dataset, logbook
        num_classes = dataset.info.num_classes
        # Without an axis: running statistics need no other device.
        model = tasks.TASKS[config.task].build_model(config, num_classes, None)
        self._evaluator = Evaluator(model, config, num_classes)

    def score(self, variables: dict, step: int) -> float:
        """Returns mean IoU in [0, 1] and writes it, pixel accuracy and pictures."""
        matrix = self._evaluator.confusion(variables, self._examples())
        prefix = f"val/{self._config.eval.protocol}"
        mean_iou = matrix.mean_iou(self._config.eval.absent_classes)
        scores = {
            f"{prefix}/mean_iou": mean_iou,
            f"{prefix}/pixel_accuracy": matrix.pixel_accuracy(),
        }
        self._logbook.scores(step, scores)
        few = itertools.islice(self._examples(), self._config.train.num_pictures)
        for number, (example, ids) in enumerate(self._evaluator.predict(variables, few)):
            panel = pictures.side_by_side(
                example["image"], example["label"], ids, self._dataset.info.colours
            )
            self._logbook.picture(step, f"val/{number}", panel)
        return mean_iou

    def _examples(self):
        examples = self._dataset.eval_examples(
            self._config.data.val_split,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )
        return itertools.islice(examples, self._config.eval.max_images or None)
