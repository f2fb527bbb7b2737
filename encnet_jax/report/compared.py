"""Estimates the difference in mean IoU between two runs, with a bootstrap interval."""

from typing import NamedTuple

import numpy as np

NUM_RESAMPLES = 1000


class Difference(NamedTuple):
    """The difference in mean IoU between two runs; all values are in [-1, 1].

    Attributes:
        value: mean IoU of the second run minus mean IoU of the first run.
        low, high: bounds of the 95 % bootstrap interval.
    """

    value: float
    low: float
    high: float


def bootstrap(first: np.ndarray, second: np.ndarray) -> Difference:
    """Compares the mean IoU of two runs on the same images, with a bootstrap interval.

    Images are resampled with replacement; each resample contains the same images for
    both runs. The interval reflects the variation over images, but not over training
    seeds.

    Args:
        first, second: int64[N, 3, C], the pixel counts of each run: the numbers of
            correct, labelled and predicted pixels for each image and class. Both runs
            must have the same order of images.

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
    """Returns f64[R], the mean IoU of R resamples of the images.

    Each mean is over the classes that occur in the resample.

    Args:
        weights: int64[R, N], how often each resample contains each of the N images.
        counts: int64[N, 3, C], see `bootstrap`.
    """
    flat = counts.reshape(len(counts), -1).astype(np.float64)
    sums = (weights @ flat).reshape(-1, *counts.shape[1:])
    correct, labelled, predicted = np.moveaxis(sums, 1, 0)
    union = labelled + predicted - correct
    iou = np.where(union > 0, correct / np.maximum(union, 1), np.nan)
    return np.nanmean(iou, axis=1)
