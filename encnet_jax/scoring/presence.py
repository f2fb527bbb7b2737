"""Average precision of the SE branch's predictions: which classes an image contains.

The SE-loss trains the output `se_logits` to predict the classes.
"""

import numpy as np


def present(pixels: np.ndarray) -> np.ndarray:
    """Returns bool[C]: classes with at least one labelled pixel.

    Args:
        pixels: int[C], pixels of each label.
    """
    return np.asarray(pixels) > 0


def average_precision(scores: np.ndarray, positive: np.ndarray) -> float:
    """Returns the area under the precision-recall curve, in [0, 1]; NaN if undefined.

    It is the sum over thresholds of (recall_n - recall_(n-1)) * precision_n, without
    interpolation. Images with equal scores share a threshold.

    Args:
        scores: f[N], larger for a more probable class.
        positive: bool[N], whether the class is present.

    Returns:
        NaN if no image or every image is positive.
    """
    scores, positive = np.asarray(scores, np.float64), np.asarray(positive, bool)
    if not 0 < positive.sum() < len(positive):
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    scores, positive = scores[order], positive[order]
    last_of_score = np.append(scores[1:] != scores[:-1], True)
    hits = np.cumsum(positive)[last_of_score]
    shown = np.arange(1, len(scores) + 1)[last_of_score]
    recall_steps = np.diff(hits, prepend=0) / positive.sum()
    return float(np.sum(recall_steps * hits / shown))


def per_class(scores: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Returns f64[C] average precisions; NaN where undefined.

    Args:
        scores: f[N, C] probabilities of presence.
        positive: bool[N, C], whether the classes are present.
    """
    columns = zip(scores.T, positive.T, strict=True)
    return np.asarray([average_precision(*column) for column in columns])
