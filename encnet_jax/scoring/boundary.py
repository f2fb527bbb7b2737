"""Quality of segment boundaries: Boundary IoU, and accuracy near contours."""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from encnet_jax.labels import IGNORE_LABEL

# Width of a boundary region, as a fraction of the image's diagonal.
DIAGONAL_FRACTION = 0.02
BAND_WIDTHS_PX = (1, 2, 4, 8, 16, 32)


def distance_px(height: int, width: int, fraction: float = DIAGONAL_FRACTION) -> int:
    """Returns the width of a boundary region in pixels, at least 1."""
    return max(1, round(fraction * float(np.hypot(height, width))))


def near_contours(ids: np.ndarray, widths_px: Iterable[int]) -> Iterator[np.ndarray]:
    """Yields bool[H, W] for each width: whether another class is within the width.

    The distance of two pixels is the larger one of their row and column distances.
    Pixels outside of the image and pixels of IGNORE_LABEL count as another class, so
    image borders are contours.

    Args:
        ids: uint8[H, W].
        widths_px: distances of 1 or more, increasing.
    """
    low, high, reached = ids, ids, 0
    for width in widths_px:
        # Enlarges the previous square: its extremes already cover its own pixels.
        side = 2 * (width - reached) + 1
        kernel = np.ones((side, side), np.uint8)
        # Pixels outside are IGNORE_LABEL. Only the maximum needs them: no id is larger.
        high = cv2.dilate(
            high, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=(IGNORE_LABEL,)
        )
        low = cv2.erode(low, kernel)
        reached = width
        yield low != high


class BoundaryCounts:
    """Pixels of boundary regions, summed over images as integers.

    Attributes:
        regions: int64[3, C], pixels in the boundary regions of each class: of labels
            and predictions at once (intersection), of the labels, of the predictions.
        bands: int64[len(BAND_WIDTHS_PX), C, C], for each width the (label, prediction)
            pairs of pixels within that distance of a label contour.

    Source: Cheng et al., "Boundary IoU", CVPR 2021, equation 3, for masks of classes.
    Deviations: regions are summed over the data set before the division, as in mean
    IoU. Ignored pixels belong to no region, and pixels next to them are boundary pixels
    in both maps.
    """

    def __init__(self, num_classes: int):
        self.regions = np.zeros((3, num_classes), np.int64)
        self.bands = np.zeros((len(BAND_WIDTHS_PX), num_classes, num_classes), np.int64)

    def update(self, labels: np.ndarray, predictions: np.ndarray) -> None:
        """Adds one image.

        Args:
            labels: uint8[H, W], ids 0..C-1 or IGNORE_LABEL.
            predictions: uint8[H, W], ids 0..C-1, or IGNORE_LABEL where scores were not
                finite; such pixels belong to no class.

        Raises:
            ValueError: shapes differ.
        """
        if labels.shape != predictions.shape:
            raise ValueError(
                f"labels have shape {labels.shape}, predictions {predictions.shape};"
                " expected equal shapes"
            )
        num_classes = self.regions.shape[1]
        predictions = np.where(labels == IGNORE_LABEL, IGNORE_LABEL, predictions)
        width_px = distance_px(*labels.shape)
        widths = sorted({*BAND_WIDTHS_PX, width_px})
        near = dict(zip(widths, near_contours(labels, widths), strict=True))
        of_labels = _ids_within(labels, near[width_px])
        (near_predicted,) = near_contours(predictions, [width_px])
        of_predictions = _ids_within(predictions, near_predicted)
        both = _ids_within(of_labels, of_labels == of_predictions)
        for row, ids in zip(
            self.regions, (both, of_labels, of_predictions), strict=True
        ):
            row += _counts(ids, 256)[:num_classes]
        # Bands are nested, so the number of bands with a pixel determines which they
        # are.
        depth = np.zeros(labels.shape, np.uint8)
        for width in BAND_WIDTHS_PX:
            depth += near[width]
        known = (depth > 0) & (labels != IGNORE_LABEL) & (predictions != IGNORE_LABEL)
        # int64: the index `place` reaches the number of bands times num_classes
        # squared.
        band, label = (each[known].astype(np.int64) for each in (depth - 1, labels))
        place = (band * num_classes + label) * num_classes + predictions[known]
        counts = _counts(place, self.bands.size).reshape(self.bands.shape)
        # The first band has pixels of the largest depth only, the widest those of any.
        self.bands += np.cumsum(counts[::-1], axis=0)

    def iou(self) -> np.ndarray:
        """Returns f64[C]: Boundary IoU; NaN for classes that never occur."""
        both, labelled, predicted = self.regions
        union = labelled + predicted - both
        return np.where(union > 0, both / np.maximum(union, 1), np.nan)


def _counts(values: np.ndarray, number: int) -> np.ndarray:
    return np.bincount(values.ravel(), minlength=number)


def _ids_within(ids: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    return np.where(chosen, ids, np.uint8(IGNORE_LABEL))
