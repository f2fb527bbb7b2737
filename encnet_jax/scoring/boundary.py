"""Quality of segment boundaries: Boundary IoU, and accuracy in bands around them."""

import cv2
import numpy as np

from encnet_jax.labels import IGNORE_LABEL

# Width of a boundary region, as a fraction of the image's diagonal.
DIAGONAL_FRACTION = 0.02
BAND_WIDTHS_PX = (1, 2, 4, 8, 16, 32)
_OUTSIDE = IGNORE_LABEL


def distance_px(height: int, width: int, fraction: float = DIAGONAL_FRACTION) -> int:
    """Returns the width of a boundary region in pixels, at least 1."""
    return max(1, round(fraction * float(np.hypot(height, width))))


def near_contour(ids: np.ndarray, width_px: int) -> np.ndarray:
    """Returns bool[H, W]: pixels within `width_px` of another class's pixels.

    The distance is the larger of rows and columns. Pixels outside of the image
    and pixels of IGNORE_LABEL count as another class, so image borders are contours.

    Args:
        ids: uint8[H, W].
        width_px: 1 or more.
    """
    side = 2 * width_px + 1
    kernel = np.ones((side, side), np.uint8)
    # As the largest value, 255 at the border would have no effect on an erosion.
    padded = np.pad(ids, width_px, constant_values=255)
    low = cv2.erode(
        padded, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=_OUTSIDE
    )
    high = cv2.dilate(padded, kernel)
    inside = slice(width_px, -width_px), slice(width_px, -width_px)
    return (low != high)[inside]


class BoundaryCounts:
    """Pixels of boundary regions, summed over images as integers.

    Attributes:
        regions: int64[3, C]: pixels in both boundary regions of a class, in that of the
            labels, in that of the predictions.
        bands: int64[len(BAND_WIDTHS_PX), C, C] pairs of (label, prediction) at most
            that many pixels from a contour of the labels.

    Source: Cheng et al., "Boundary IoU", CVPR 2021, equation 3, for masks of classes.
    Deviations: sums over the data set precede the division, as in mean IoU; ignored
    pixels belong to no region and bound those next to them in both maps.
    """

    def __init__(self, num_classes: int):
        self.regions = np.zeros((3, num_classes), np.int64)
        self.bands = np.zeros((len(BAND_WIDTHS_PX), num_classes, num_classes), np.int64)

    def update(self, labels: np.ndarray, predictions: np.ndarray) -> None:
        """Adds one image.

        Args:
            labels: uint8[H, W], ids 0..C-1 or IGNORE_LABEL.
            predictions: uint8[H, W], likewise; IGNORE_LABEL where scores were not
                finite, which counts as no class.

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
        of_labels = _ids_within(labels, near_contour(labels, width_px))
        of_predictions = _ids_within(predictions, near_contour(predictions, width_px))
        both = np.where(of_labels == of_predictions, of_labels, IGNORE_LABEL)
        for row, ids in zip(
            self.regions, (both, of_labels, of_predictions), strict=True
        ):
            row += np.bincount(ids.ravel(), minlength=256)[:num_classes]
        known = (labels != IGNORE_LABEL) & (predictions != IGNORE_LABEL)
        pairs = labels.astype(np.int32) * num_classes + predictions
        for band, width in zip(self.bands, BAND_WIDTHS_PX, strict=True):
            chosen = pairs[known & near_contour(labels, width)]
            counts = np.bincount(chosen, minlength=num_classes**2)
            band += counts.reshape(num_classes, num_classes)

    def iou(self) -> np.ndarray:
        """Returns f64[C]: Boundary IoU; NaN for classes that never occur."""
        both, labelled, predicted = self.regions
        union = labelled + predicted - both
        return np.where(union > 0, both / np.maximum(union, 1), np.nan)


def _ids_within(ids: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    return np.where(chosen, ids, np.uint8(IGNORE_LABEL))
