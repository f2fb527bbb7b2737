"""Average precision of the SE branch, which predicts the classes in an image."""

import numpy as np


def present(pixels: np.ndarray) -> np.ndarray:
    """Returns whether each class has at least one pixel, bool[C].

    Args:
        pixels: int[C], number of pixels of each class.
    """
    return np.asarray(pixels) > 0


def average_precision(scores: np.ndarray, positive: np.ndarray) -> float:
    """Returns the area under the precision-recall curve of one class.

    As in scikit-learn's average_precision_score, the precision is not interpolated.

    Args:
        scores: float[N], predicted score of the class for each of N images.
        positive: bool[N], whether the class is present in each image.

    Returns:
        A value in [0, 1]; NaN if the class is present in no image or in all images.
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
    """Returns the average precision of each class, f64[C]; see average_precision.

    Args:
        scores: float[N, C], predicted probability that each class is present in each of
            N images.
        positive: bool[N, C], whether each class is present in each image.
    """
    columns = zip(scores.T, positive.T, strict=True)
    return np.asarray([average_precision(*column) for column in columns])
