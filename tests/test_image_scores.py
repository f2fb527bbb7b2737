"""The counts and pictures that an evaluation keeps of single images."""

import numpy as np
import pytest
from etils import epath

from encnet_jax.scoring import image_scores
from encnet_jax.scoring.image_scores import LONG_SIDE_PX, ImageScores
from encnet_jax.scoring.metrics import ConfusionMatrix
from encnet_jax.scoring.seen import Seen


def saved(tmp_path, rights, size=(10, 10)):
    """Returns the file of images of which so many pixels are right, others wrong."""
    kept = ImageScores()
    pixels = size[0] * size[1]
    for number, right in enumerate(rights):
        image = np.full((*size, 3), number, np.uint8)
        label, prediction = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
        prediction.ravel()[right:] = 1
        pairs = np.asarray([[right, pixels - right], [0, 0]])
        example = {"id": f"image{number}", "image": image, "label": label}
        seen = Seen(pairs, lambda prediction=prediction: prediction, None)
        kept.add(example, seen)
    path = epath.Path(tmp_path / "kept.npz")
    kept.save(path, ConfusionMatrix(2), 1)
    with np.load(str(path)) as arrays:
        return dict(arrays)


def test_the_four_best_and_the_four_worst_are_kept_in_order(tmp_path):
    found = saved(tmp_path, [50, 10, 90, 70, 30, 20, 80, 60, 40])
    assert [int(found[f"best{i}"]) for i in range(4)] == [2, 6, 3, 7]
    assert [int(found[f"worst{i}"]) for i in range(4)] == [1, 5, 4, 8]
    assert "best4" not in found and "worst4" not in found
    np.testing.assert_array_equal(found["best1_image"], np.full((10, 10, 3), 6))
    assert found["worst1_prediction"].sum() == 80 and not found["worst1_label"].any()
    np.testing.assert_array_equal(found["counts"][1], [[10, 0], [100, 0], [10, 90]])


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((30, 40), (30, 40)),
        ((LONG_SIDE_PX, 20), (LONG_SIDE_PX, 20)),
        ((2 * LONG_SIDE_PX, 50), (LONG_SIDE_PX, 25)),
        ((30, 3 * LONG_SIDE_PX), (10, LONG_SIDE_PX)),
        ((1, 4 * LONG_SIDE_PX), (1, LONG_SIDE_PX)),
        ((4 * LONG_SIDE_PX, 1), (LONG_SIDE_PX, 1)),
    ],
)
def test_pictures_are_shrunk_to_the_long_side(tmp_path, size, expected):
    found = saved(tmp_path, [1], size)
    for kind in image_scores.KINDS:
        assert found[f"best0_{kind}"].shape[:2] == expected
