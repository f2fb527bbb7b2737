"""Scores against hand numbers and the ADE20K benchmark's own."""

import importlib.util
import json

import jax.numpy as jnp
import numpy as np
import pytest

from encnet_jax.scoring.metrics import ConfusionMatrix, count_pairs


def test_hand_numbers():
    matrix = ConfusionMatrix(3)
    matrix.update(np.uint8([[0, 0, 1, 255]]), np.uint8([[0, 1, 1, 2]]))
    np.testing.assert_array_equal(matrix.counts, [[1, 1, 0], [0, 1, 0], [0, 0, 0]])
    assert matrix.pixel_accuracy() == 2 / 3
    np.testing.assert_allclose(matrix.iou(), [0.5, 0.5, np.nan])
    assert matrix.mean_iou() == pytest.approx(1 / 3)
    assert matrix.mean_iou(absent="skip") == 0.5
    np.testing.assert_array_equal((matrix + matrix).counts, 2 * matrix.counts)
    assert ConfusionMatrix(3).mean_iou() == ConfusionMatrix(3).pixel_accuracy() == 0


def test_a_class_of_one_pixel_counts():
    matrix = ConfusionMatrix.from_counts(np.asarray([[1, 0], [0, 0]]))
    np.testing.assert_array_equal(matrix.iou(), [1.0, np.nan])


def test_bad_ids_are_refused():
    with pytest.raises(ValueError, match="ids range from 0 to 3; expected 0 to 2"):
        ConfusionMatrix(3).update(np.uint8([0, 3]), np.uint8([0, 0]))
    nothing = np.zeros(0, np.uint8)
    ConfusionMatrix(3).update(nothing, nothing)
    with pytest.raises(
        ValueError, match="shape .2,., but predictions have shape .1,.; expected equal"
    ):
        ConfusionMatrix(3).update(np.uint8([0, 1]), np.uint8([0]))
    with pytest.raises(ValueError, match="'absent' is 'nan'"):
        ConfusionMatrix(3).mean_iou(absent="nan")


def test_device_counts_equal_host_counts():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 6, 500).astype(np.uint8)
    labels[labels == 5] = 255
    predictions = rng.integers(0, 5, 500).astype(np.uint8)
    matrix = ConfusionMatrix(5)
    matrix.update(labels, predictions)
    counts = count_pairs(jnp.asarray(labels), jnp.asarray(predictions), 5)
    np.testing.assert_array_equal(counts, matrix.counts)


@pytest.mark.golden
@pytest.mark.parametrize("name", ["ade_like", "pcontext_like", "voc_like"])
def test_benchmark_scores(reference_dir, name):
    golden = reference_dir / "golden"
    spec = importlib.util.spec_from_file_location("seeded", golden / "seeded.py")
    seeded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(seeded)
    expected = json.loads((golden / "metrics.json").read_text())[name]
    labels, predictions = seeded.seeded_metric_inputs(
        expected["seed"],
        expected["images"],
        expected["num_classes"],
        expected["classes_present"],
    )
    matrix = ConfusionMatrix(expected["num_classes"])
    for label, prediction in zip(labels, predictions, strict=True):
        # The reference counts from 1 and ignores 0.
        matrix.update(np.where(label == 0, 255, label - 1), prediction - 1)
    assert matrix.pixel_accuracy() == pytest.approx(
        expected["pixel_accuracy"], abs=1e-9
    )
    assert matrix.mean_iou() == pytest.approx(expected["mean_iou"], abs=1e-9)
    iou = np.nan_to_num(matrix.iou())
    np.testing.assert_allclose(iou, expected["iou"], atol=1e-9)
