"""Estimates the difference in mean IoU between two runs, with a bootstrap interval."""

from typing import NamedTuple

import numpy as np

NUM_RESAMPLES = 1000


class Difference(NamedTuple):
    """The difference between the mean IoU of two runs; values are in [-1, 1].

    Attributes:
        value: mean IoU of the second run minus that of the first.
        low, high: bounds of the 95 % bootstrap interval; images are resampled.
    """

    value: float
    low: float
    high: float


def bootstrap(first: np.ndarray, second: np.ndarray) -> Difference:
    """Compares the mean IoU of two runs on the same images.

    Images are resampled with replacement, the same images for both runs. The interval
    is between the 2.5th and the 97.5th percentile of the differences. The interval
    reflects the variation over images, but not over training seeds.

    Args:
        first, second: counts int64[N, 3, C] of the two runs: for each image and class,
            the number of correct, of labelled and of predicted pixels. The order of
            images must be the same.

    Raises:
        ValueError: the shapes differ.
    """
    if first.shape != second.shape:
        raise ValueError(
            f"counts have shapes {first.shape} and {second.shape}; expected equal"
            " shapes"
        )
    number = len(first)
    draws = np.random.default_rng(0).integers(0, number, (NUM_RESAMPLES, number))
    weights = np.stack([np.bincount(draw, minlength=number) for draw in draws])
    found = [_mean_iou(weights, counts) for counts in (first, second)]
    differences = found[1] - found[0]
    ones = np.ones((1, number), np.int64)
    value = _mean_iou(ones, second)[0] - _mean_iou(ones, first)[0]
    low, high = np.percentile(differences, [2.5, 97.5])
    return Difference(float(value), float(low), float(high))


def _mean_iou(weights: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Returns f64[R], the mean IoU of R weighted sets of images.

    The mean is over the classes that occur in a set.

    Args:
        weights: int64[R, N], weight of each of N images in each set.
        counts: int64[N, 3, C], see `bootstrap`.
    """
    flat = counts.reshape(len(counts), -1).astype(np.float64)
    sums = (weights @ flat).reshape(-1, *counts.shape[1:])
    correct, labelled, predicted = np.moveaxis(sums, 1, 0)
    union = labelled + predicted - correct
    iou = np.where(union > 0, correct / np.maximum(union, 1), np.nan)
    return np.nanmean(iou, axis=1)
