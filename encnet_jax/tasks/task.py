"""The interface between the training loop and a task."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from encnet_jax.preprocess import Normaliser


class Measures(NamedTuple):
    """The scores of a confusion matrix.

    Attributes:
        scores: name -> score in [0, 1].
        best: the score by which checkpoints are compared, in [0, 1]; larger is better.
        class_score: name of the score in class_scores.
        class_scores: f64[C] in [0, 1], one per class; NaN for classes that never occur.
        rule: how the scores are counted, as a sentence.
        counted: {'pixels': number of pixels} for segmentation, otherwise empty.
    """

    scores: dict[str, float]
    best: float
    class_score: str
    class_scores: np.ndarray
    rule: str
    counted: dict[str, int]


class Task(NamedTuple):
    """A task, bound to the fields of one configuration.

    Attributes:
        build_model: (num_classes, axis_name) -> module.
        description: short description of the model, for reports.
        normalise: uint8 [..., 3] -> f32 [..., 3], the module's input.
        loss_fn: (outputs, batch, axis_name) -> (share of the loss, its terms).
        make_evaluator: (module, num_classes, protocol=None, refine=None, sizes) ->
            evaluator, see scoring.evaluator; protocol and refine None: those of the
            configuration's section eval.
        measure: confusion matrix -> Measures.
        protocol_fields: function of a protocol: the fields that reports state for it.
        labels_pixels: whether predictions are label maps.
    """

    build_model: Callable
    description: str
    normalise: Normaliser
    loss_fn: Callable
    make_evaluator: Callable
    measure: Callable[..., Measures]
    protocol_fields: dict[str, tuple[str, ...]]
    labels_pixels: bool = False
