"""The interface between the training loop and a kind of problem."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np


class Measures(NamedTuple):
    """The scores of a confusion matrix.

    Attributes:
        scores: name -> in [0, 1].
        best: the score that checkpoints are compared by, in [0, 1], larger is better.
        class_score: name of the scores of single classes.
        class_scores: f64[C] in [0, 1], NaN for classes that never occur.
        rule: how the scores are counted, in words.
        counted: {'pixels': number of pixels} for segmentation, otherwise empty.
    """

    scores: dict[str, float]
    best: float
    class_score: str
    class_scores: np.ndarray
    rule: str
    counted: dict[str, int]


class Task(NamedTuple):
    """A kind of problem, bound to the fields of one configuration.

    Attributes:
        build_model: (num_classes, axis_name) -> module.
        description: of the model, a few words for reports.
        normalise: uint8 [..., 3] -> f32 [..., 3], the module's input.
        loss_fn: (outputs, batch, axis_name) -> (share of the loss, its terms).
        make_evaluator: (module, num_classes, protocol=None, refine=None, sizes) -> see
            scoring.evaluator; None for the configuration's eval.protocol, eval.refine.
        measure: confusion matrix -> Measures.
        protocol_fields: protocol -> the fields that reports state for it.
        labels_pixels: whether predictions are label maps.
    """

    build_model: Callable
    description: str
    normalise: Callable[[jax.Array], jax.Array]
    loss_fn: Callable
    make_evaluator: Callable
    measure: Callable[..., Measures]
    protocol_fields: dict[str, tuple[str, ...]]
    labels_pixels: bool = False
