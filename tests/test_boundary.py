"""Boundary IoU and bands around contours against loops over pixels."""

import numpy as np
import pytest

from encnet_jax.scoring import boundary
from encnet_jax.scoring.boundary import BoundaryCounts


def brute_near(ids, width):
    height, columns = ids.shape
    near = np.zeros(ids.shape, bool)
    for y in range(height):
        for x in range(columns):
            for v in range(y - width, y + width + 1):
                for u in range(x - width, x + width + 1):
                    outside = not (0 <= v < height and 0 <= u < columns)
                    other = 255 if outside else ids[v, u]
                    near[y, x] |= other != ids[y, x]
    return near


def brute_iou(pairs, num_classes):
    sums = np.zeros((2, num_classes))
    for labels, predictions in pairs:
        predictions = np.where(labels == 255, 255, predictions)
        width = max(1, round(0.02 * np.hypot(*labels.shape)))
        regions = [brute_near(x, width) for x in (labels, predictions)]
        for k in range(num_classes):
            a = (labels == k) & regions[0]
            b = (predictions == k) & regions[1]
            sums[:, k] += (a & b).sum(), (a | b).sum()
    return np.where(sums[1] > 0, sums[0] / np.maximum(sums[1], 1), np.nan)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 5), (60, 83)])
def test_random_maps_equal_a_loop_over_pixels(size):
    rng = np.random.default_rng(sum(size))
    counts, pairs = BoundaryCounts(4), []
    for _ in range(3):
        coarse = rng.integers(0, 3, (2, -(-size[0] // 6), -(-size[1] // 6)))
        maps = np.kron(coarse, np.ones((1, 6, 6), int)).astype(np.uint8)
        labels, predictions = maps[:, : size[0], : size[1]]
        labels = np.where(rng.random(size) < 0.05, 255, labels).astype(np.uint8)
        counts.update(labels, predictions)
        pairs.append((labels, predictions))
    np.testing.assert_allclose(counts.iou(), brute_iou(pairs, 4))
    assert np.isnan(counts.iou()[3])


def test_hand_numbers():
    labels = np.zeros((40, 40), np.uint8)
    labels[10:30, 10:30] = 1
    shifted = np.roll(labels, 2, axis=1)
    # 2 % of the diagonal is 1 pixel: frames of 76 pixels, of which two sides of 18
    # shared pixels each lie on each other.
    counts = BoundaryCounts(2)
    counts.update(labels, shifted)
    assert boundary.distance_px(40, 40) == 1
    np.testing.assert_array_equal(counts.regions[:, 1], [36, 76, 76])
    assert counts.iou()[1] == 36 / 116
    perfect = BoundaryCounts(2)
    perfect.update(labels, labels)
    np.testing.assert_array_equal(perfect.iou(), [1, 1])


def test_bands_count_pairs_near_the_labels_contours():
    labels = np.zeros((9, 12), np.uint8)
    labels[:, 6:] = 1
    predictions = np.zeros_like(labels)
    counts = BoundaryCounts(2)
    counts.update(labels, predictions)
    for band, width in zip(counts.bands, boundary.BAND_WIDTHS_PX, strict=True):
        near = brute_near(labels, width)
        expected = [[(near & (labels == k)).sum(), 0] for k in (0, 1)]
        np.testing.assert_array_equal(band, expected)


def test_bands_of_many_classes_are_counted():
    """Their pairs do not fit into the 8 bits of a label."""
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(0, 150, (2, 40, 30), np.uint8)
    labels[:, :18] = 149
    counts = BoundaryCounts(150)
    counts.update(labels, predictions)
    for band, width in zip(counts.bands, boundary.BAND_WIDTHS_PX, strict=True):
        expected = np.zeros((150, 150), int)
        near = brute_near(labels, width)
        np.add.at(expected, (labels[near], predictions[near]), 1)
        np.testing.assert_array_equal(band, expected)


def test_pixels_without_a_prediction_belong_to_no_class():
    labels = np.zeros((5, 5), np.uint8)
    counts = BoundaryCounts(1)
    counts.update(labels, np.full((5, 5), 255, np.uint8))
    np.testing.assert_array_equal(counts.regions[:, 0], [0, 16, 0])
    assert counts.bands.sum() == 0


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match="labels have shape .*; expected equal shapes"):
        BoundaryCounts(1).update(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8))
