"""Quality of probabilities: calibration error, log-likelihood, Brier score,
temperature.

Probabilities are reduced on the device to a few numbers for each row of an image; the
host adds those as integers, so sums over a data set are exact.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize

from encnet_jax.labels import IGNORE_LABEL

NUM_BINS = 15  # Of confidence, of equal widths; the usual number (Guo et al., 2017).
COVERAGE_BINS = 1000  # Confidences of the risk curve are rounded to thousandths.
# Lower limit for a label's probability, so that sums stay finite.
SMALLEST = 1e-12


class PixelTerms(NamedTuple):
    """Terms of a pixel, or arrays [...] of them.

    Attributes:
        confidence: f32 in [0, 1], the largest probability.
        right: bool, whether that class is the label.
        nll: f32, -log of the label's probability, natural units.
        brier: f32 in [0, 2], sum over classes of (probability - is the label)**2.
        valid: bool, False for ignored pixels and where scores are not finite.
    """

    confidence: jax.Array
    right: jax.Array
    nll: jax.Array
    brier: jax.Array
    valid: jax.Array


def pixel_terms(probabilities: jax.Array, labels: jax.Array) -> PixelTerms:
    """Returns what each pixel adds to the scores of calibration, arrays [...].

    Args:
        probabilities: f32[..., C], sums over classes are 1.
        labels: uint8[...], ids 0..C-1 or IGNORE_LABEL.
    """
    is_label = jax.nn.one_hot(labels, probabilities.shape[-1], dtype=bool)
    of_label = jnp.sum(jnp.where(is_label, probabilities, 0.0), axis=-1)
    valid = (labels != IGNORE_LABEL) & jnp.isfinite(jnp.sum(probabilities, axis=-1))
    return PixelTerms(
        confidence=jnp.max(probabilities, axis=-1),
        right=jnp.argmax(probabilities, axis=-1).astype(labels.dtype) == labels,
        nll=-jnp.log(jnp.maximum(of_label, SMALLEST)),
        # The sum over classes of (probability - is the label)**2, multiplied out.
        brier=jnp.sum(probabilities**2, axis=-1) - 2 * of_label + 1,
        valid=valid,
    )


# Exact for float32 in [0.5, 1]. Sums of a row are kept in two parts below 2**31.
_CONFIDENCE_UNITS, _LOW = 2**24, 2**12


class RowSums(NamedTuple):
    """Sums over the pixels of each row of one image.

    Attributes:
        bins: int32[H, NUM_BINS, 4]: pixels, pixels that are right, and the sum of
            confidence, as high * 2**12 + low in units of 2**-24.
        coverage: int32[COVERAGE_BINS, 2]: pixels and wrong pixels, over all rows.
        terms: f32[H, 2]: sums of nll and of brier.
    """

    bins: jax.Array
    coverage: jax.Array
    terms: jax.Array


def row_sums(pixels: PixelTerms) -> RowSums:
    """Reduces the terms [H, W] of an image on the device; W below 2**19."""
    valid = pixels.valid
    confidence = jnp.where(valid, pixels.confidence, 0.0)
    # As integers, because a sum of floats would depend on the order of the scatter.
    parts = jnp.rint(confidence * _CONFIDENCE_UNITS).astype(jnp.int32)
    high, low = jnp.divmod(parts, _LOW)
    counted = [each.astype(jnp.int32) for each in (valid, valid & pixels.right)]
    columns = jnp.stack([*counted, high, low], axis=-1)
    rows = jnp.arange(valid.shape[0])[:, None]
    bins = jnp.zeros((valid.shape[0], NUM_BINS, 4), jnp.int32)
    bins = bins.at[rows, _bin_of(confidence, NUM_BINS)].add(columns)
    fine = _bin_of(confidence, COVERAGE_BINS)
    wrong = valid & ~pixels.right
    counts = jnp.stack([valid, wrong], axis=-1).astype(jnp.int32)
    coverage = jnp.zeros((COVERAGE_BINS, 2), jnp.int32).at[fine].add(counts)
    terms = jnp.stack([pixels.nll, pixels.brier], axis=-1)
    terms = jnp.sum(jnp.where(valid[..., None], terms, 0.0), axis=1)
    return RowSums(bins, coverage, terms)


def _bin_of(confidence: jax.Array, number: int) -> jax.Array:
    """Returns int32[...], the bin i: i / number < confidence <= (i + 1) / number."""
    index = jnp.ceil(confidence * number).astype(jnp.int32) - 1
    return jnp.clip(index, 0, number - 1)


# Sums of fractions are kept as integers, in units of 1 / UNITS: like counts, they
# depend neither on the order of the images nor on the number of processes.
UNITS = 2**20


class Calibration:
    """Accumulates calibration statistics over images.

    Attributes:
        bins: int64[NUM_BINS, 3]: pixels, pixels that are right, sum of confidence, over
            all images, in units of 1 / UNITS.
        coverage: int64[COVERAGE_BINS, 2], RowSums.coverage summed over images.
        terms: int64[2], RowSums.terms summed over rows and images, in units of
            1 / UNITS.
    """

    def __init__(self) -> None:
        self.bins = np.zeros((NUM_BINS, 3), np.int64)
        self.coverage = np.zeros((COVERAGE_BINS, 2), np.int64)
        self.terms = np.zeros(2, np.int64)

    def update(self, sums: RowSums) -> None:
        """Adds the sums of one image."""
        pixels, right, high, low = np.asarray(sums.bins, np.int64).sum(0).T
        confidence = (high * _LOW + low) * UNITS // _CONFIDENCE_UNITS
        self.bins += np.stack([pixels * UNITS, right * UNITS, confidence], axis=-1)
        self.coverage += np.asarray(sums.coverage, np.int64)
        self.terms += _in_units(sums.terms)

    @property
    def num_pixels(self) -> int:
        """Labelled pixels with finite scores."""
        return int(self.coverage[:, 0].sum())

    def expected_error(self) -> float:
        """Returns the expected calibration error, in [0, 1]; 0 without pixels.

        Source: Guo et al., "On Calibration of Modern Neural Networks", equation 3.
        """
        count, right, confidence = self.bins.T / UNITS
        return float(np.abs(right - confidence).sum() / max(count.sum(), 1))

    def nll(self) -> float:
        """Returns the mean negative log-likelihood of a pixel's label, 0 or more."""
        return float(self.terms[0] / UNITS / max(self.num_pixels, 1))

    def brier(self) -> float:
        """Returns the mean Brier score, in [0, 2]; 0 is best."""
        return float(self.terms[1] / UNITS / max(self.num_pixels, 1))

    def reliability(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns (mean confidence, accuracy, pixels), f64[NUM_BINS] each.

        Confidence and accuracy are NaN in empty bins.
        """
        count, right, confidence = self.bins.T / UNITS
        filled = np.where(count > 0, count, np.nan)
        return confidence / filled, right / filled, count

    def risk_coverage(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns (fraction of pixels kept, accuracy on them), f64[n] each.

        The most confident pixels are kept first. Pixels with confidences in the same
        thousandth are kept or omitted together.
        """
        kept, wrong = np.cumsum(self.coverage[::-1], axis=0).T
        some = kept > 0
        return kept[some] / max(kept[-1], 1), 1 - wrong[some] / kept[some]


def _in_units(rows: jax.Array) -> np.ndarray:
    """Returns the sum over rows of f32[H, ...] times UNITS, int64[...]."""
    return np.rint(np.asarray(rows, np.float64) * UNITS).astype(np.int64).sum(0)


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Returns the temperature in [0.05, 20] with the smallest mean nll.

    Args:
        logits: f32[N, C] of pixels from a split that is not evaluated, or any scores
            whose softmax are the probabilities.
        labels: int[N], ids 0..C-1.

    Raises:
        ValueError: there are no pixels.

    Source: Guo et al. 2017, section 4.2. The mean nll is convex in 1 / temperature.
    """
    if not len(labels):
        raise ValueError("temperature: no labelled pixels, expected at least one")
    logits = np.asarray(logits, np.float64)
    of_label = np.take_along_axis(logits, np.asarray(labels, int)[:, None], axis=-1)
    margins = logits - of_label

    def mean_nll(log_temperature: float) -> float:
        scaled = margins * np.exp(-log_temperature)
        largest = scaled.max(-1, keepdims=True)
        sums = np.log(np.exp(scaled - largest).sum(-1)) + largest[:, 0]
        return float(sums.mean())

    bounds = np.log(0.05), np.log(20.0)
    found = optimize.minimize_scalar(mean_nll, bounds=bounds, method="bounded")
    return float(np.exp(found.x))


def at_temperature(probabilities: jax.Array, temperature: float) -> jax.Array:
    """Returns probabilities f32[..., C] as softmax(log p / temperature).

    This equals the softmax of logits / temperature, as constants cancel.
    """
    powered = jnp.log(jnp.maximum(probabilities, 1e-30)) / temperature
    return jax.nn.softmax(powered, axis=-1)
