"""The interface between the training loop and a task."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from encnet_jax.preprocess import Normaliser


class Measures(NamedTuple):
    """The scores that are computed from a confusion matrix.

    Attributes:
        scores: {name: score in [0, 1]}.
        best: the score by which checkpoints are compared, in [0, 1]; larger is better.
        class_score: name of the score that is computed for each class, such as 'iou'.
        class_scores: f64[C] in [0, 1], this score for each class; NaN for classes that
            never occur.
        rule: text that states how the scores are computed.
        counted: {'pixels': number of labelled pixels} for segmentation; otherwise {}.
    """

    scores: dict[str, float]
    best: float
    class_score: str
    class_scores: np.ndarray
    rule: str
    counted: dict[str, int]


class Task(NamedTuple):
    """Segmentation or classification, with the settings of one configuration.

    Attributes:
        build_model: function (num_classes, pmap axis of the batch norms or None) ->
            Flax module.
        description: short description of the model, for reports.
        normalise: function from images, uint8[..., 3], to module input, f32[..., 3].
        loss_fn: function (outputs, batch, axis_name) -> (loss, {name: loss term}) of
            this device; the sums over all devices are the loss and the terms.
        make_evaluator: function (module, num_classes, protocol=None, refine=None,
            sizes=...) -> evaluator, see scoring.evaluator. If `protocol` or `refine` is
            None, the value in section `eval` of the configuration is used.
        measure: function that maps a confusion matrix to Measures.
        protocol_fields: {name of a protocol: names of the configuration fields that
            reports list}.
        labels_pixels: whether the task predicts a label for every pixel.
    """

    build_model: Callable
    description: str
    normalise: Normaliser
    loss_fn: Callable
    make_evaluator: Callable
    measure: Callable[..., Measures]
    protocol_fields: dict[str, tuple[str, ...]]
    labels_pixels: bool = False
