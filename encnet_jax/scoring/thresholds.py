"""MaxF and average precision of one class: the scores of the KITTI road benchmark.

The scores are computed in the camera image and in a bird's-eye view. A pixel is
assigned to the class if its probability of the class is at least the threshold.

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
    """Returns histograms of the predicted probability of a class.

    Args:
        levels: uint8[...], probability of the class in units of 1 / 255, rounded.
        labels: uint8[...], true class ids, or IGNORE_LABEL for pixels that are not
            counted.
        positive: id of the class.

    Returns:
        int64[LEVELS, 2]: for each value of `levels`, the number of pixels with another
        label and the number of pixels with the label `positive`.
    """
    valid = labels != IGNORE_LABEL
    index = levels[valid].astype(np.int64) * 2 + (labels[valid] == positive)
    return np.bincount(index, minlength=2 * LEVELS).reshape(LEVELS, 2)


def max_f_and_precision(counts: np.ndarray) -> tuple[float | None, float | None]:
    """Returns MaxF and the average precision of a class.

    MaxF is the largest F1 score over the thresholds 0/255, ..., 255/255. The average
    precision is a mean over the recalls r = 0, 0.1, ..., 1: for each r, the highest
    precision of all thresholds with a recall of at least r.

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

    The bird's-eye view is a grid of 800 x 400 cells on the road. The centre of cell
    [j, i] lies 46 - 0.05 (j + 1/2) metres ahead and -10 + 0.05 (i + 1/2) metres to the
    right of the camera.

    Args:
        road_to_image: f64[3, 3], homography from (metres right, metres ahead, 1) to
            (column, row, 1) in the image; columns and rows are counted from 1.
        height, width: size of the image in pixels.

    Returns:
        int[800, 400] rows and int[800, 400] columns of the pixels, counted from 0;
        bool[800, 400], False for cells outside the image, for which row and column
        are 0.
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
        images: int64[2], number of all images and of images with a known bird's-eye
            view.
    """

    def __init__(self, positive: int, views: Mapping[str, np.ndarray]):
        """Initialises all counts to 0.

        Args:
            positive: id of the class.
            views: image id -> homography `road_to_image`, see from_above; images
                without a known bird's-eye view are absent.
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
            max_f_and_precision. The last two are absent unless the bird's-eye view of
            every image is known.
        """
        counts = sum_over_processes(self.counts)
        images, with_view = sum_over_processes(self.images)
        found: dict[str, float | None] = {}
        for space, of_space in zip(("image", "bev"), counts, strict=True):
            if space == "image" or with_view == images:
                names = f"max_f_{space}", f"average_precision_{space}"
                found |= zip(names, max_f_and_precision(of_space), strict=True)
        return found
