"""MaxF and average precision of one class: the scores of the KITTI road benchmark.

The scores are computed in the camera image and in a bird's-eye view. A pixel is
predicted as the class if the predicted probability is at least a threshold.

Source: development kit of KITTI road (Fritsch, Kuehnl and Geiger, ITSC 2013). Scores:
evalExp and pxEval_maximizeFMeasure in evaluateRoad.py and helper.py. Bird's-eye view:
BirdsEyeView.py.
"""

from collections.abc import Mapping

import numpy as np

from encnet_jax.labels import IGNORE_LABEL
from encnet_jax.pods.distributed import sum_over_processes
from encnet_jax.scoring.seen import Seen

LEVELS = 256  # Probabilities are rounded to levels 0..255, like an 8-bit grey image.
# Extent of the bird's-eye view to the right and ahead of the camera, and side of a
# cell, in metres.
_RIGHT_M, _AHEAD_M, _CELL_M = (-10, 10), (6, 46), 0.05


def level_counts(levels: np.ndarray, labels: np.ndarray, positive: int) -> np.ndarray:
    """Returns histograms of a class's predicted probability, for two groups of pixels.

    Args:
        levels: uint8[...], probability of the class times 255, rounded.
        labels: uint8[...], true class ids, or IGNORE_LABEL for pixels that are not
            counted.
        positive: id of the class.

    Returns:
        int64[LEVELS, 2]; for each value of `levels`: the number of pixels whose label
        is another class, and the number of pixels whose label is `positive`.
    """
    valid = labels != IGNORE_LABEL
    index = levels[valid].astype(np.int64) * 2 + (labels[valid] == positive)
    return np.bincount(index, minlength=2 * LEVELS).reshape(LEVELS, 2)


def max_f_and_precision(counts: np.ndarray) -> tuple[float | None, float | None]:
    """Returns MaxF and the average precision of a class.

    MaxF is the largest F1 score over the thresholds 0/255, ..., 255/255. The average
    precision is the mean of 11 precisions: for each recall 0, 0.1, ..., 1, the highest
    precision among the thresholds that reach at least this recall.

    Args:
        counts: int64[LEVELS, 2], see level_counts.

    Returns:
        (MaxF, average precision), both in [0, 1]; (None, None) if no pixel has the
        label of the class.
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
    """Returns the image pixel that each cell of the bird's-eye view shows.

    The bird's-eye view is a grid of 800 x 400 square cells of 0.05 m on the road. The
    grid extends from 6 m to 46 m ahead of the camera, and 10 m to the left and to the
    right. Row 0 is farthest from the camera; column 0 is leftmost.

    Args:
        road_to_image: f64[3, 3], homography from (metres right, metres ahead, 1) to
            (column, row, 1) in the image; columns and rows are counted from 1.
        height, width: size of the image in pixels.

    Returns:
        (rows, columns, inside), each [800, 400]: row and column of the pixel, counted
        from 0, and whether the cell is inside the image. Row and column are 0 for cells
        outside the image.
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
    """Accumulates histograms of the predicted probability of a class over images.

    Attributes:
        positive: id of the class.
        counts: int64[2, LEVELS, 2], histograms in the camera image and in the
            bird's-eye view; see level_counts.
        images: int64[2], the number of all images, and the number of images with a
            bird's-eye view.
    """

    def __init__(self, positive: int, views: Mapping[str, np.ndarray]):
        """Initialises all counts to 0.

        Args:
            positive: id of the class.
            views: maps image ids to the homography `road_to_image` of from_above.
                Images that are absent have no bird's-eye view.
        """
        self.positive, self._views = positive, views
        self.counts = np.zeros((2, LEVELS, 2), np.int64)
        self.images = np.zeros(2, np.int64)

    def add(self, example: dict, seen: Seen) -> None:
        """Adds the results of an image.

        Args:
            example: dict with 'id' and 'label' uint8[H, W].
            seen: results of the image, from an Evaluator with a level_class.
        """
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
        """Returns the scores over the images of all processes.

        All processes must call this method.

        Returns:
            Dict with 'max_f_image' and 'average_precision_image' (camera image), and
            'max_f_bev' and 'average_precision_bev' (bird's-eye view); see
            max_f_and_precision. The bird's-eye scores are absent unless every image has
            a bird's-eye view.
        """
        counts = sum_over_processes(self.counts)
        images, with_view = sum_over_processes(self.images)
        found: dict[str, float | None] = {}
        for space, of_space in zip(("image", "bev"), counts, strict=True):
            if space == "image" or with_view == images:
                names = f"max_f_{space}", f"average_precision_{space}"
                found |= zip(names, max_f_and_precision(of_space), strict=True)
        return found
