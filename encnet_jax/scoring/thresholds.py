"""MaxF and average precision of one class, over thresholds of its probability.

Source: development kit of KITTI road (Fritsch, Kuehnl and Geiger, ITSC 2013):
evaluateRoad.py and helper.py, evalExp and pxEval_maximizeFMeasure, for the scores;
BirdsEyeView.py for the bird's-eye view.
"""

from collections.abc import Mapping

import numpy as np

from encnet_jax.labels import IGNORE_LABEL
from encnet_jax.pods.distributed import sum_over_processes
from encnet_jax.scoring.seen import Seen

LEVELS = 256  # Probabilities are compared as grey levels of an 8-bit image.
# The bird's-eye view, in metres: to the right and ahead of the camera.
_RIGHT_M, _AHEAD_M, _CELL_M = (-10, 10), (6, 46), 0.05


def level_counts(levels: np.ndarray, labels: np.ndarray, positive: int) -> np.ndarray:
    """Returns int64[LEVELS, 2], for each level the pixels of other classes and of this.

    Args:
        levels: uint8[...], probability of the class in 255ths, rounded.
        labels: uint8[...], ids, or IGNORE_LABEL for pixels that are not counted.
        positive: id of the class.
    """
    valid = labels != IGNORE_LABEL
    index = levels[valid].astype(np.int64) * 2 + (labels[valid] == positive)
    return np.bincount(index, minlength=2 * LEVELS).reshape(LEVELS, 2)


def max_f_and_precision(counts: np.ndarray) -> tuple[float | None, float | None]:
    """Returns (MaxF, average precision), in [0, 1]; None without pixels of the class.

    MaxF is the largest F1 score over thresholds 0/255, ..., 255/255. Average precision
    is the mean over recalls 0, 0.1, ..., 1 of the highest precision with at least this
    recall.

    Args:
        counts: int64[LEVELS, 2], see level_counts.
    """
    wrong, right = np.cumsum(counts[::-1], axis=0)[::-1].T
    total = counts[:, 1].sum()
    if not total:
        return None, None
    wrong, right = wrong[right > 0], right[right > 0]
    recall, precision = right / total, right / (right + wrong + 1e-10)
    f = 2 * precision * recall / (precision + recall + 1e-10)
    steps = np.arange(0, 1.1, 0.1)
    return float(f.max()), float(np.mean([precision[recall >= r].max() for r in steps]))


def from_above(
    road_to_image: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns rows int[800, 400], columns int[800, 400] and bool[800, 400], inside.

    Cell [j, i] of the bird's-eye view is 46 - 0.05 (j + 1/2) metres ahead and
    -10 + 0.05 (i + 1/2) metres to the right of the camera, on the road.

    Args:
        road_to_image: f64[3, 3], from (metres right, metres ahead, 1) to homogeneous
            (column, row, 1), counted from 1.
        height, width: size of the image.
    """
    right, ahead = (
        np.arange(low, high, _CELL_M)[: round((high - low) / _CELL_M)] + _CELL_M / 2
        for low, high in (_RIGHT_M, _AHEAD_M)
    )
    grid = np.stack(np.broadcast_arrays(right[None], ahead[::-1, None], 1.0))
    u, v, w = np.tensordot(road_to_image, grid, axes=1)
    columns, rows = u / w, v / w
    inside = (rows >= 1) & (columns >= 1) & (rows <= height) & (columns <= width)
    return (
        np.where(inside, rows, 1).astype(int) - 1,
        np.where(inside, columns, 1).astype(int) - 1,
        inside,
    )


class Thresholds:
    """Accumulates levels over images, as seen by the camera and from above.

    Attributes:
        positive: id of the class.
        counts: int64[2, LEVELS, 2], in image space and in the bird's-eye view.
        images: int64[2], number of images, and of images with a known bird's-eye view.
    """

    def __init__(self, positive: int, views: Mapping[str, np.ndarray]):
        """Starts with counts of zero.

        Args:
            positive: id of the class.
            views: for each name of an image, road_to_image; see from_above.
        """
        self.positive, self._views = positive, views
        self.counts = np.zeros((2, LEVELS, 2), np.int64)
        self.images = np.zeros(2, np.int64)

    def add(self, example: dict, seen: Seen) -> None:
        """Adds an image; the evaluator must have a level_class."""
        assert seen.levels is not None
        levels, labels = seen.levels(), example["label"]
        self.counts[0] += level_counts(levels, labels, self.positive)
        view = self._views.get(str(example["id"]))
        self.images += 1, view is not None
        if view is not None:
            rows, columns, inside = from_above(view, *labels.shape)
            seen_labels = np.where(inside, labels[rows, columns], IGNORE_LABEL)
            self.counts[1] += level_counts(
                levels[rows, columns], seen_labels, self.positive
            )

    def summary(self) -> dict[str, float | None]:
        """Returns 'max_f_image', 'average_precision_image' and the same with '_bev'.

        Bird's-eye scores are absent unless the view is known for every image of all
        processes. All processes must call this method.
        """
        counts = sum_over_processes(self.counts)
        images, with_view = sum_over_processes(self.images)
        found: dict[str, float | None] = {}
        for space, of_space in zip(("image", "bev"), counts, strict=True):
            if space == "image" or with_view == images:
                names = f"max_f_{space}", f"average_precision_{space}"
                found |= zip(names, max_f_and_precision(of_space), strict=True)
        return found
