"""Scores of class probabilities: calibration error, log-likelihood and Brier score.

Devices compute the contribution of each pixel. The host sums the contributions as
integers, so that the sums do not depend on the order of the images.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize

from encnet_jax.labels import IGNORE_LABEL

NUM_BINS = 15  # Confidence bins of equal width, as in Guo et al., 2017.
COVERAGE_BINS = 1000  # Risk curve: confidences are rounded up to thousandths.
# Lower limit for a label's probability, so that sums stay finite.
SMALLEST = 1e-12


class PixelTerms(NamedTuple):
    """The contribution of each pixel to the calibration scores.

    All fields are f32[...], one value per pixel. A pixel is not counted if its label is
    IGNORE_LABEL or its scores are not finite.

    Attributes:
        confidence: the largest class probability, in [0, 1]; NaN for pixels that are
            not counted.
        nll: negative log-likelihood in nats, -log(probability of the label); 0 for
            pixels that are not counted.
        brier: Brier score in [0, 2], the sum over classes of (probability - target)**2;
            0 for pixels that are not counted. The target is 1 for the label and 0 for
            the other classes.
    """

    confidence: jax.Array
    nll: jax.Array
    brier: jax.Array


def pixel_terms(weights: jax.Array, labels: jax.Array) -> PixelTerms:
    """Returns PixelTerms, the contribution of each pixel to the calibration scores.

    Args:
        weights: f32[..., C], non-negative, proportional to the class probabilities.
        labels: uint8[...], ids 0..C-1 or IGNORE_LABEL.
    """
    is_label = jax.nn.one_hot(labels, weights.shape[-1], dtype=bool)
    columns = weights, weights, weights**2, jnp.where(is_label, weights, 0.0)
    # One reduction for all four: separate reductions would each recompute the weights.
    largest, total, squares, of_label = jax.lax.reduce(
        columns,
        4 * (np.float32(0),),
        lambda a, b: (jnp.maximum(a[0], b[0]), a[1] + b[1], a[2] + b[2], a[3] + b[3]),
        (weights.ndim - 1,),
    )
    counted = (labels != IGNORE_LABEL) & jnp.isfinite(total)
    of_label /= total
    nll = -jnp.log(jnp.maximum(of_label, SMALLEST))
    # The sum over classes of (probability - target)**2, expanded.
    brier = squares / total**2 - 2 * of_label + 1
    return PixelTerms(
        confidence=jnp.where(counted, largest / total, jnp.nan),
        nll=jnp.where(counted, nll, 0.0),
        brier=jnp.where(counted, brier, 0.0),
    )


def row_sums(nll: jax.Array, brier: jax.Array) -> jax.Array:
    """Sums the negative log-likelihood and the Brier score over each image row.

    Args:
        nll, brier: f32[..., H, W], fields of PixelTerms.

    Returns:
        f32[..., H, 2]; [..., 0] is the sum of nll, [..., 1] is the sum of brier.
    """
    return jnp.stack([jnp.sum(nll, axis=-1), jnp.sum(brier, axis=-1)], axis=-1)


def _bin_of(confidence: np.ndarray, number: int) -> np.ndarray:
    """Returns the index of the confidence bin that contains each value.

    All bins have the same width. Each bin includes its upper limit.

    Args:
        confidence: f32[...] in [0, 1]; 0 belongs to bin 0.
        number: number of bins.

    Returns:
        int64[...] in 0..number-1.
    """
    index = np.ceil(confidence * np.float32(number)).astype(np.int64) - 1
    return np.clip(index, 0, number - 1)


# Sums of fractions are stored as integers, in units of 1 / UNITS, so that they depend
# neither on the order of the images nor on the number of processes.
UNITS = 2**20
_CONFIDENCE_UNITS = 2**24  # Exact for float32 in [0.5, 1].


class Calibration:
    """Accumulates calibration statistics over images.

    Attributes:
        bins: int64[NUM_BINS, 3]. For each confidence bin: the number of pixels, the
            number of correctly predicted pixels, and the sum of the confidences. All
            three are multiplied by UNITS.
        coverage: int64[COVERAGE_BINS, 2]. For each of COVERAGE_BINS narrower confidence
            bins: the number of pixels, and the number of wrongly predicted pixels.
        terms: int64[2], the sums of PixelTerms.nll and PixelTerms.brier over all
            pixels, multiplied by UNITS.
    """

    def __init__(self) -> None:
        self.bins = np.zeros((NUM_BINS, 3), np.int64)
        self.coverage = np.zeros((COVERAGE_BINS, 2), np.int64)
        self.terms = np.zeros(2, np.int64)

    def update(
        self, confidence: np.ndarray, right: np.ndarray, sums: np.ndarray
    ) -> None:
        """Adds the statistics of one image.

        Args:
            confidence: f32[H, W], PixelTerms.confidence.
            right: bool[H, W], whether the prediction equals the label.
            sums: f32[H, 2], the result of row_sums.
        """
        counted = ~np.isnan(confidence)
        confidence, right = confidence[counted], right[counted]
        fine = 2 * _bin_of(confidence, COVERAGE_BINS) + right
        wrong, correct = np.bincount(fine, minlength=2 * COVERAGE_BINS).reshape(-1, 2).T
        self.coverage += np.stack([wrong + correct, wrong], axis=-1)
        bins = 2 * _bin_of(confidence, NUM_BINS) + right
        # float64 adds these integers exactly.
        parts = np.rint(confidence * np.float32(_CONFIDENCE_UNITS))
        counts, parts = (
            np.bincount(bins, weights, minlength=2 * NUM_BINS).astype(np.int64)
            for weights in (None, parts)
        )
        wrong, correct = counts.reshape(-1, 2).T
        total = parts.reshape(-1, 2).sum(1) * UNITS // _CONFIDENCE_UNITS
        self.bins += np.stack(
            [(wrong + correct) * UNITS, correct * UNITS, total], axis=-1
        )
        self.terms += _in_units(sums)

    @property
    def num_pixels(self) -> int:
        """The number of counted pixels: labelled pixels with finite scores."""
        return int(self.coverage[:, 0].sum())

    def expected_error(self) -> float:
        """Returns the expected calibration error, in [0, 1]; 0 if no pixel is counted.

        Source: Guo et al., "On Calibration of Modern Neural Networks", equation 3.
        """
        count, right, confidence = self.bins.T / UNITS
        return float(np.abs(right - confidence).sum() / max(count.sum(), 1))

    def nll(self) -> float:
        """Returns the mean negative log-likelihood of the labels, in nats."""
        return float(self.terms[0] / UNITS / max(self.num_pixels, 1))

    def brier(self) -> float:
        """Returns the mean Brier score, in [0, 2]; 0 is best."""
        return float(self.terms[1] / UNITS / max(self.num_pixels, 1))

    def reliability(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns the points of a reliability diagram: the accuracy at each confidence.

        Returns:
            (confidence, accuracy, count), each f64[NUM_BINS]: for each confidence bin
            the mean confidence, the accuracy and the number of pixels. Mean confidence
            and accuracy are NaN for empty bins.
        """
        count, right, confidence = self.bins.T / UNITS
        filled = np.where(count > 0, count, np.nan)
        return confidence / filled, right / filled, count

    def risk_coverage(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the accuracy on the most confident pixels, for several thresholds.

        Confidences are rounded up to thousandths.

        Returns:
            (coverage, accuracy), each f64[n], for n decreasing thresholds: the fraction
            of pixels whose confidence is at least the threshold, and the accuracy on
            these pixels.
        """
        kept, wrong = np.cumsum(self.coverage[::-1], axis=0).T
        some = kept > 0
        return kept[some] / max(kept[-1], 1), 1 - wrong[some] / kept[some]


def _in_units(rows: np.ndarray) -> np.ndarray:
    """Multiplies f32[H, ...] by UNITS, rounds to int64, and sums over axis 0."""
    return np.rint(np.asarray(rows, np.float64) * UNITS).astype(np.int64).sum(0)


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Finds the softmax temperature with the smallest mean negative log-likelihood.

    The pixels should come from images that are not used for evaluation.

    Args:
        logits: f32[N, C], logits or log-probabilities of N pixels.
        labels: int[N], true class ids 0..C-1.

    Returns:
        The temperature, in [0.05, 20].

    Raises:
        ValueError: N is 0.

    Source: Guo et al. 2017, section 4.2.
    """
    if not len(labels):
        raise ValueError(
            "cannot fit a temperature to 0 labelled pixels; expected at least one"
        )
    logits = np.asarray(logits, np.float64)
    of_label = np.take_along_axis(logits, np.asarray(labels, int)[:, None], axis=-1)
    margins = logits - of_label

    def mean_nll(log_temperature: float) -> float:
        scaled = margins * np.exp(-log_temperature)
        largest = scaled.max(-1, keepdims=True)
        sums = np.log(np.exp(scaled - largest).sum(-1)) + largest[:, 0]
        return float(sums.mean())

    # The mean is convex in 1 / temperature, so the local minimum is the global one.
    bounds = np.log(0.05), np.log(20.0)
    found = optimize.minimize_scalar(mean_nll, bounds=bounds, method="bounded")
    return float(np.exp(found.x))


def at_temperature(weights: jax.Array, temperature: float) -> jax.Array:
    """Applies a softmax temperature to probabilities.

    Args:
        weights: f32[..., C], non-negative, proportional to softmax(logits).
        temperature: above 0. Values above 1 reduce the largest probability; values
            below 1 increase it.

    Returns:
        f32[..., C], the probabilities softmax(logits / temperature).
    """
    powered = jnp.log(jnp.maximum(weights, 1e-30)) / temperature
    return jax.nn.softmax(powered, axis=-1)
