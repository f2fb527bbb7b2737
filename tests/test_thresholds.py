"""MaxF and average precision against their definitions; the bird's-eye view."""

import numpy as np
import pytest

from encnet_jax.scoring import thresholds
from encnet_jax.scoring.seen import Seen


def by_definition(levels, labels):
    """The kit's scores of pixels, threshold by threshold."""
    probability = (levels.astype("f4") / np.float32(255)).astype(float)
    valid, road = labels != 255, labels == 1
    recalls, precisions, f_scores = [], [], []
    for threshold in range(256):
        found = probability >= threshold / 255
        right = int((found & road & valid).sum())
        wrong = int((found & ~road & valid).sum())
        missed = int((~found & road & valid).sum())
        if right:
            recalls.append(right / (right + missed))
            precisions.append(right / (right + wrong))
            f_scores.append(2 * right / (2 * right + wrong + missed))
    at_recalls = [
        max(p for r, p in zip(recalls, precisions, strict=True) if r >= step)
        for step in np.arange(0, 1.1, 0.1)
    ]
    return max(f_scores), sum(at_recalls) / 11


@pytest.mark.parametrize("seed", range(8))
def test_scores_equal_their_definition(seed):
    rng = np.random.default_rng(seed)
    labels = rng.choice([0, 1, 255], (17, 23), p=(0.6, 0.3, 0.1)).astype(np.uint8)
    # Few levels with ties, or many; informative, or not.
    spread = (3, 40, 255, 255)[seed % 4]
    levels = rng.integers(0, spread + 1, labels.shape)
    levels = np.clip(levels + 60 * (seed % 2) * (labels == 1), 0, 255).astype(np.uint8)
    counts = thresholds.level_counts(levels, labels, 1)
    assert counts.sum() == (labels != 255).sum()
    found = thresholds.max_f_and_precision(counts)
    np.testing.assert_allclose(found, by_definition(levels, labels), rtol=1e-8)


def test_scores_of_a_hand_made_case():
    """Road at levels 200, 200, 100; other at 200, 50: F1 4/6, 6/7 and 6/8."""
    levels = np.array([200, 200, 100, 200, 50], np.uint8)
    labels = np.array([1, 1, 1, 0, 0], np.uint8)
    f, precision = thresholds.max_f_and_precision(
        thresholds.level_counts(levels, labels, 1)
    )
    np.testing.assert_allclose(f, 6 / 7)
    # Precision 3/4 at recall 1 is the highest everywhere.
    np.testing.assert_allclose(precision, 3 / 4)
    nothing = thresholds.level_counts(levels[3:], labels[3:], 1)
    assert thresholds.max_f_and_precision(nothing) == (None, None)


def test_cells_from_above_are_projected_into_the_image():
    """A camera 1.65 m above the road: x right, z ahead; see the kit's BirdsEyeView."""
    focal, centre_u, centre_v, height = 721.5, 609.5, 172.9, 1.65
    view = np.array([[focal, centre_u, 0], [0, centre_v, focal * height], [0, 1, 0]])
    rows, columns, inside = thresholds.from_above(view, 375, 1242)
    assert rows.shape == columns.shape == inside.shape == (800, 400)
    for j, i in ((0, 0), (0, 399), (400, 200), (650, 150), (799, 399)):
        ahead, right = 46 - 0.05 * (j + 0.5), -10 + 0.05 * (i + 0.5)
        u = centre_u + focal * right / ahead
        v = centre_v + focal * height / ahead
        seen = 1 <= u <= 1242 and 1 <= v <= 375
        assert inside[j, i] == seen
        if seen:
            assert (rows[j, i], columns[j, i]) == (int(v) - 1, int(u) - 1)
    assert not inside[799, 399] and inside[0].all()


def test_both_spaces_are_summed_over_images():
    view = np.array([[8, 4, 0], [0, 3, 10], [0, 1, 0]], float)
    rng, expected = np.random.default_rng(0), []
    labels = rng.choice([0, 1, 255], (2, 12, 10)).astype(np.uint8)
    levels = rng.integers(0, 256, (2, 12, 10)).astype(np.uint8)
    known = thresholds.Thresholds(1, {"a": view, "b": view})
    half = thresholds.Thresholds(1, {"a": view})
    for name, label, level in zip("ab", labels, levels, strict=True):
        seen = Seen(
            np.zeros((2, 2)), lambda: None, None, levels=lambda level=level: level
        )
        for each in (known, half):
            each.add({"id": name, "label": label}, seen)
        rows, columns, inside = thresholds.from_above(view, 12, 10)
        expected.append((level[rows, columns][inside], label[rows, columns][inside]))
    found = known.summary()
    image = by_definition(levels.ravel(), labels.ravel())
    above = by_definition(*(np.concatenate(x) for x in zip(*expected, strict=True)))
    np.testing.assert_allclose(
        [found["max_f_image"], found["average_precision_image"]], image, rtol=1e-8
    )
    np.testing.assert_allclose(
        [found["max_f_bev"], found["average_precision_bev"]], above, rtol=1e-8
    )
    # Without the view of every image there is no score from above.
    assert half.summary().keys() == {"max_f_image", "average_precision_image"}
