"""Evaluation during training: a score and a few pictures for TensorBoard."""

import itertools

import jax

from encnet_jax import config as config_lib
from encnet_jax import pictures, tasks
from encnet_jax.scoring import evaluator as evaluator_lib


class Validator:
    """Scores the validation split; its compiled programs serve every time."""

    def __init__(self, config, dataset, logbook, stop):
        """Takes the resolved configuration, the open data set, where results go.

        Args:
            config, dataset, logbook: as train.loop made them.
            stop: a StopRequest, which ends an evaluation.
        """
        config = config_lib.replaced(
            config,
            # A run is watched as its network is: refinement costs more than scoring.
            {"eval.protocol": config.train.val_protocol, "eval.refine": "none"},
        )
        self._config, self._dataset, self._logbook = config, dataset, logbook
        self._stop = stop
        num_classes = dataset.info.num_classes
        # Without an axis: running statistics need no other device.
        self._task = tasks.of(config)
        model = self._task.build_model(config, num_classes, None)
        self._evaluator = self._task.make_evaluator(model, config, num_classes)

    def score(self, variables: dict, step: int) -> float:
        """Returns what checkpoints are compared by; writes all scores and pictures.

        Raises:
            Stopped: a stop was asked for; nothing was written.
        """
        examples, _ = evaluator_lib.watched_examples(
            self._dataset,
            self._config.data.val_split,
            self._config.eval.max_images,
            self._stop,
        )
        matrix = self._evaluator.confusion(variables, examples)
        prefix = f"val/{self._config.eval.protocol}"
        measures = self._task.measure(matrix, self._config)
        scores = {f"{prefix}/{name}": value for name, value in measures.scores.items()}
        self._logbook.scores(step, scores)
        if matrix.not_finite:
            self._logbook.note(
                f"warning: the scores of {matrix.not_finite} labelled pixels (or"
                " images) were NaN or infinite; they are not counted"
            )
        if self._config.train.num_pictures:
            self._write_pictures(variables, step)
        return measures.best

    def _write_pictures(self, variables: dict, step: int) -> None:
        examples = self._dataset.eval_examples(
            self._config.data.val_split,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )
        few = itertools.islice(examples, self._config.train.num_pictures)
        for number, (example, ids) in enumerate(
            self._evaluator.predict(variables, few)
        ):
            panel = pictures.side_by_side(
                example["image"], example["label"], ids, self._dataset.info.colours
            )
            self._logbook.picture(step, f"val/{number}", panel)
