"""Boundary IoU, and confusion matrices of the pixels near class boundaries."""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from encnet_jax.labels import IGNORE_LABEL

# Width of a boundary region, as a fraction of the image's diagonal.
DIAGONAL_FRACTION = 0.02
BAND_WIDTHS_PX = (1, 2, 4, 8, 16, 32)


def distance_px(height: int, width: int, fraction: float = DIAGONAL_FRACTION) -> int:
    """Returns the width of an image's boundary regions in pixels; see BoundaryCounts.

    The width is rounded to an integer and is at least 1.

    Args:
        height, width: size of the image in pixels.
        fraction: width of the regions divided by the length of the image diagonal.
    """
    return max(1, round(fraction * float(np.hypot(height, width))))


def near_contours(ids: np.ndarray, widths_px: Iterable[int]) -> Iterator[np.ndarray]:
    """Yields a mask of the pixels near another class, for each of several distances.

    The distance between two pixels is the larger of their row and column distances.
    Pixels outside the image and pixels with IGNORE_LABEL count as another class.

    Args:
        ids: uint8[H, W], class ids or IGNORE_LABEL.
        widths_px: distances in pixels, 1 or more, in increasing order.

    Yields:
        bool[H, W] for each of `widths_px`: True if the nearest pixel of another class
        is at most this far away.
    """
    low, high, reached = ids, ids, 0
    for width in widths_px:
        # Enlarges the previous windows; their minimum and maximum are known.
        side = 2 * (width - reached) + 1
        kernel = np.ones((side, side), np.uint8)
        # Pixels outside the image are IGNORE_LABEL, the largest id: the minimum can
        # ignore them.
        high = cv2.dilate(
            high, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=(IGNORE_LABEL,)
        )
        low = cv2.erode(low, kernel)
        reached = width
        yield low != high


class BoundaryCounts:
    """Accumulates pixel counts of boundary regions over images.

    The boundary region of a class consists of the pixels of this class that are near
    pixels of another class (see distance_px). Labels and predictions have separate
    boundary regions.

    Attributes:
        regions: int64[3, C], numbers of pixels of each class. Row 0 counts pixels in
            the boundary regions of both labels and predictions; row 1, pixels in the
            region of the labels; row 2, pixels in the region of the predictions.
        bands: int64[len(BAND_WIDTHS_PX), C, C], for each width in BAND_WIDTHS_PX a
            confusion matrix (label, prediction) of the pixels that are at most this far
            from a pixel with a different label.

    Source: Cheng et al., "Boundary IoU", CVPR 2021, equation 3, applied to one mask for
    each class. Two deviations: (1) pixel counts are summed over the data set before the
    division, as in mean IoU; (2) pixels with IGNORE_LABEL belong to no region, and
    pixels near them count as boundary pixels.
    """

    def __init__(self, num_classes: int):
        self.regions = np.zeros((3, num_classes), np.int64)
        self.bands = np.zeros((len(BAND_WIDTHS_PX), num_classes, num_classes), np.int64)

    def update(self, labels: np.ndarray, predictions: np.ndarray) -> None:
        """Adds the counts of one image.

        Args:
            labels: uint8[H, W], ids 0..C-1 or IGNORE_LABEL.
            predictions: uint8[H, W], ids 0..C-1, or IGNORE_LABEL for pixels whose
                scores are not finite.

        Raises:
            ValueError: the shapes of labels and predictions differ.
        """
        if labels.shape != predictions.shape:
            raise ValueError(
                f"labels have shape {labels.shape}, but predictions have shape"
                f" {predictions.shape}; expected equal shapes"
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
        # Bands are nested: the number of bands that contain a pixel determines them.
        depth = np.zeros(labels.shape, np.uint8)
        for width in BAND_WIDTHS_PX:
            depth += near[width]
        known = (depth > 0) & (labels != IGNORE_LABEL) & (predictions != IGNORE_LABEL)
        # int64, because the index `place` can be as large as the size of `bands`.
        band, label = (each[known].astype(np.int64) for each in (depth - 1, labels))
        place = (band * num_classes + label) * num_classes + predictions[known]
        counts = _counts(place, self.bands.size).reshape(self.bands.shape)
        # The narrowest band has only the pixels of the largest depth; the widest band
        # has all pixels.
        self.bands += np.cumsum(counts[::-1], axis=0)

    def iou(self) -> np.ndarray:
        """Returns the Boundary IoU of each class.

        Returns:
            f64[C]; NaN for classes without boundary pixels.
        """
        both, labelled, predicted = self.regions
        union = labelled + predicted - both
        return np.where(union > 0, both / np.maximum(union, 1), np.nan)


def _counts(values: np.ndarray, number: int) -> np.ndarray:
    return np.bincount(values.ravel(), minlength=number)


def _ids_within(ids: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    return np.where(chosen, ids, np.uint8(IGNORE_LABEL))
