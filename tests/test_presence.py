"""Average precision of class presence against its definition."""

import numpy as np
import pytest

from encnet_jax.scoring import presence


def brute(scores, positive):
    """Precision and recall at every threshold, summed up in a loop."""
    total, before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        shown = scores >= threshold
        recall = (shown & positive).sum() / positive.sum()
        total += (recall - before) * (shown & positive).sum() / shown.sum()
        before = recall
    return total


def test_hand_numbers():
    scores = np.asarray([0.9, 0.8, 0.7, 0.6])
    positive = np.asarray([True, False, True, False])
    assert presence.average_precision(scores, positive) == pytest.approx(5 / 6)
    worst = presence.average_precision(-scores, positive)
    assert worst == pytest.approx((1 / 2 + 2 / 4) / 2)


def test_ties_share_a_threshold():
    rng = np.random.default_rng(0)
    for _ in range(20):
        scores = rng.integers(0, 5, 30) / 5
        positive = rng.random(30) < 0.4
        expected = brute(scores, positive)
        assert presence.average_precision(scores, positive) == pytest.approx(expected)


def test_classes_in_every_image_or_in_none_have_no_average_precision():
    scores = np.random.default_rng(1).random((6, 3))
    positive = np.zeros((6, 3), bool)
    positive[:, 1] = True
    positive[:2, 2] = True
    found = presence.per_class(scores, positive)
    assert np.isnan(found[:2]).all()
    assert found[2] == pytest.approx(brute(scores[:, 2], positive[:, 2]))


def test_a_single_pixel_makes_a_class_present():
    np.testing.assert_array_equal(presence.present([0, 1, 500]), [False, True, True])
