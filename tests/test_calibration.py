"""Calibration against NumPy in float64 and hand numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from encnet_jax.scoring import calibration
from encnet_jax.scoring.calibration import Calibration


def brute(probabilities, labels):
    """ECE, nll, Brier score, from all pixels at once."""
    p = np.asarray(probabilities, np.float64).reshape(-1, probabilities.shape[-1])
    y = labels.ravel()
    p, y = p[y != 255], y[y != 255].astype(int)
    confidence, right = p.max(1), p.argmax(1) == y
    error = 0.0
    for i in range(15):
        low = -1 if i == 0 else i / 15
        inside = (confidence > low) & (confidence <= (i + 1) / 15)
        if inside.any():
            gap = abs(right[inside].mean() - confidence[inside].mean())
            error += inside.mean() * gap
    nll = -np.log(p[np.arange(len(y)), y]).mean()
    return error, nll, ((p - np.eye(p.shape[1])[y]) ** 2).sum(1).mean()


def maps(seed, size, num_classes=5, ignored=0.1):
    rng = np.random.default_rng(seed)
    logits = 3 * rng.standard_normal((*size, num_classes)).astype(np.float32)
    labels = np.asarray(rng.integers(0, num_classes - 1, size), np.uint8)
    labels[rng.random(size) < ignored] = 255
    return jax.nn.softmax(logits, axis=-1), labels


def summed(pairs):
    found = Calibration()
    for probabilities, labels in pairs:
        # Weights need not add up to 1.
        terms = calibration.pixel_terms(3 * probabilities, jnp.asarray(labels))
        right = np.asarray(probabilities).argmax(-1) == labels
        sums = calibration.row_sums(terms.nll, terms.brier)
        found.update(np.asarray(terms.confidence), right, np.asarray(sums))
    return found


@pytest.mark.parametrize("size", [(33, 47), (1, 9), (9, 1)])
def test_random_maps_equal_numpy(size):
    pairs = [maps(seed, size) for seed in range(3)]
    found = summed(pairs)
    whole = [
        np.concatenate([np.asarray(x).reshape(-1, *x.shape[2:]) for x in part])
        for part in zip(*pairs, strict=True)
    ]
    expected = brute(*whole)
    measured = found.expected_error(), found.nll(), found.brier()
    np.testing.assert_allclose(measured, expected, rtol=2e-6)
    assert found.num_pixels == np.count_nonzero(whole[1] != 255)


def test_hand_numbers():
    probabilities = jnp.asarray([[[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.5, 0.5]]])
    labels = np.asarray([[0, 1, 1, 255]], np.uint8)
    found = summed([(probabilities, labels)])
    assert found.expected_error() == pytest.approx((0.1 + 0.6 + 0.3) / 3)
    assert found.nll() == pytest.approx(-np.log([0.9, 0.4, 0.7]).mean())
    assert found.brier() == pytest.approx(2 * (0.01 + 0.36 + 0.09) / 3)
    kept, accuracy = found.risk_coverage()
    np.testing.assert_allclose(np.unique(kept), [1 / 3, 2 / 3, 1])
    assert accuracy[0] == 1 and accuracy[-1] == pytest.approx(2 / 3)


def test_pixels_without_finite_scores_are_left_out():
    probabilities = jnp.asarray([[[np.nan, np.nan], [0.8, 0.2]]], jnp.float32)
    found = summed([(probabilities, np.zeros((1, 2), np.uint8))])
    assert found.num_pixels == 1
    assert found.nll() == pytest.approx(-np.log(0.8))


def test_scores_of_images_without_labels_are_zero():
    found = summed([(jnp.ones((2, 2, 1)), np.full((2, 2), 255, np.uint8))])
    assert (found.num_pixels, found.expected_error(), found.nll()) == (0, 0.0, 0.0)


def test_temperature_is_found_again():
    """Labels drawn from softmax(logits / 2.5) are calibrated at 2.5."""
    rng = np.random.default_rng(0)
    logits = 4 * rng.standard_normal((20_000, 6))
    p = np.asarray(jax.nn.softmax(logits / 2.5, axis=-1), np.float64)
    labels = (p.cumsum(1) > rng.random((len(p), 1))).argmax(1)
    assert calibration.fit_temperature(logits, labels) == pytest.approx(2.5, rel=0.03)
    with pytest.raises(ValueError, match="to 0 labelled pixels; expected"):
        calibration.fit_temperature(logits[:0], labels[:0])


def test_temperature_of_probabilities_is_that_of_logits():
    logits = jnp.asarray(np.random.default_rng(1).standard_normal((7, 5)), jnp.float32)
    softened = calibration.at_temperature(jax.nn.softmax(logits, -1), 1.7)
    expected = jax.nn.softmax(logits / 1.7, -1)
    np.testing.assert_allclose(softened, expected, rtol=1e-5)
