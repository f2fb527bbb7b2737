"""What a kind of problem has to say for itself."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


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
        normalise: uint8 [..., 3] -> f32 [..., 3], what the module takes; tasks.of
            chooses it by `model.pixels`.
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
