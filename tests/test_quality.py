"""Boundaries, calibration and presence as evaluation measures them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_calibration import brute
from test_evaluator import CLASSES, make_config, make_examples
from toy_segmenter import ToySegmenter

from encnet_jax.preprocess import normalise
from encnet_jax.scoring import presence, thresholds
from encnet_jax.scoring.boundary import BoundaryCounts
from encnet_jax.scoring.evaluator import Evaluator
from encnet_jax.scoring.forward import Forward
from encnet_jax.scoring.image_scores import ImageScores
from encnet_jax.scoring.quality import Quality

SIZES = [(30, 44), (44, 30), (30, 44), (50, 51), (30, 44)]
NAMES = tuple("abcde")


class KnowsTheScene(ToySegmenter):
    """Also predicts the presence of classes, from the mean of the input."""

    def apply(self, variables, images, train=False):
        """Adds 'se_logits' f32[B, C]."""
        mean = jnp.mean(images, axis=(1, 2))
        outputs = super().apply(variables, images, train)
        return outputs | {"se_logits": mean @ variables["overall"]}


def evaluate(protocol, segmenter, devices=None, **fields):
    config = make_config(protocol, **fields)
    forward = Forward.of(segmenter, CLASSES, normalise, config.model, 1.0)
    evaluator = Evaluator(
        forward, config.eval, devices=devices, with_calibration=True, level_class=2
    )
    counts = thresholds.Thresholds(2, {})
    quality, images = Quality(CLASSES, counts), ImageScores()
    matrix = evaluator.confusion(
        segmenter.variables,
        make_examples(SIZES),
        watches=(quality.add, images.add),
    )
    return matrix, quality, evaluator


@pytest.mark.parametrize("protocol", ["single", "multiscale", "release"])
def test_quality_equals_numpy_on_the_protocols_probabilities(protocol):
    """Compared on the sums of scores that the evaluator itself hands out."""
    segmenter = KnowsTheScene(CLASSES)
    matrix, quality, evaluator = evaluate(protocol, segmenter)
    found = quality.summary(NAMES)
    probabilities, labels, boundary = [], [], BoundaryCounts(CLASSES)
    scores = evaluator.scores(segmenter.variables, make_examples(SIZES))
    for members, total, _ in scores:
        for member, own in zip(members, np.asarray(total), strict=False):
            height, width = member["label"].shape
            own = own[:height, :width]
            shares = own / own.sum(-1, keepdims=True)
            probabilities.append(shares.reshape(-1, CLASSES))
            labels.append(member["label"].ravel())
            boundary.update(member["label"], own.argmax(-1).astype(np.uint8))
    expected = brute(np.concatenate(probabilities), np.concatenate(labels))
    measured = [found[name] for name in ("calibration_error", "nll", "brier")]
    np.testing.assert_allclose(measured, expected, rtol=1e-5)
    assert quality.calibration.num_pixels == matrix.counts.sum()
    np.testing.assert_array_equal(boundary.regions, quality.boundary.regions)
    levels = np.round(255 * np.concatenate(probabilities)[:, 2]).astype(np.uint8)
    counts = thresholds.level_counts(levels, np.concatenate(labels), 2)
    expected = thresholds.max_f_and_precision(counts)
    measured = found["max_f_image"], found["average_precision_image"]
    np.testing.assert_allclose(measured, expected, atol=1e-4)
    assert found["boundary_iou"] == pytest.approx(np.nanmean(boundary.iou()))
    accuracy = found["risk_coverage"]["accuracy"]
    assert accuracy[-1] == pytest.approx(matrix.pixel_accuracy())


def test_measuring_changes_no_count():
    segmenter = KnowsTheScene(CLASSES)
    matrix, _, _ = evaluate("single", segmenter)
    config = make_config("single")
    forward = Forward.of(segmenter, CLASSES, normalise, config.model, 1.0)
    plain = Evaluator(forward, config.eval)
    expected = plain.confusion(segmenter.variables, make_examples(SIZES))
    np.testing.assert_array_equal(matrix.counts, expected.counts)


def presences(protocol, **fields):
    segmenter = KnowsTheScene(CLASSES)
    config = make_config(protocol, **fields)
    forward = Forward.of(segmenter, CLASSES, normalise, config.model, 1.0)
    evaluator = Evaluator(forward, config.eval)
    rows = {}

    def watch(example, seen):
        rows[example["id"]] = seen.presence

    evaluator.confusion(segmenter.variables, make_examples(SIZES), watches=(watch,))
    return segmenter, rows


def test_presence_of_whole_images_is_the_networks():
    segmenter, rows = presences("single", **{"eval.bucket": 1})
    for example in make_examples(SIZES):
        values = example["image"].astype(np.float64) / 255
        mean = (values - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        logits = mean.mean((0, 1)) @ segmenter.variables["overall"]
        expected = 1 / (1 + np.exp(-logits))
        np.testing.assert_allclose(rows[example["id"]], expected, rtol=1e-4)


def test_presence_is_averaged_over_scales():
    """One scale at a time, then their mean."""
    fields = {"eval.flip": False}
    single = [
        presences("multiscale", **fields, **{"eval.scales": (s,)})[1]
        for s in (0.5, 1.5)
    ]
    _, both = presences("multiscale", **fields)
    for name, row in both.items():
        np.testing.assert_allclose(row, (single[0][name] + single[1][name]) / 2, 1e-5)


def test_presence_of_windows_is_the_largest():
    """An image of one colour in its left half: its windows differ."""
    _, rows = presences("release", **{"eval.flip": False, "eval.scales": (1.5,)})
    _, small = presences("release", **{"eval.flip": False, "eval.scales": (0.5,)})
    _, both = presences("release", **{"eval.flip": False})
    for name, row in both.items():
        np.testing.assert_allclose(row, np.maximum(rows[name], small[name]), 1e-5)


def test_average_precision_equals_that_of_all_images():
    segmenter, rows = presences("single")
    _, quality, _ = evaluate("single", segmenter)
    truth = [
        np.bincount(e["label"].ravel(), minlength=256)[:CLASSES] > 0
        for e in make_examples(SIZES)
    ]
    scores = np.stack([rows[i] for i in range(len(SIZES))])
    expected = presence.per_class(scores, np.stack(truth))
    np.testing.assert_allclose(quality.presence.average_precision(), expected)


def test_a_network_without_the_branch_has_no_presence():
    _, quality, _ = evaluate("single", ToySegmenter(CLASSES))
    assert "presence_ap" not in quality.summary(NAMES)


def test_sums_do_not_depend_on_the_devices():
    segmenter = KnowsTheScene(CLASSES)
    found = [
        evaluate("single", segmenter, jax.local_devices()[:n])[1].summary(NAMES)
        for n in (1, 8)
    ]
    np.testing.assert_allclose(*map(jax.tree.leaves, found), rtol=1e-5)
