"""Computes boundary, calibration and class-presence scores during an evaluation."""

import jax
import numpy as np
from jax.experimental import multihost_utils

from encnet_jax.pods.distributed import sum_over_processes
from encnet_jax.scoring import presence
from encnet_jax.scoring.boundary import BAND_WIDTHS_PX, BoundaryCounts
from encnet_jax.scoring.calibration import Calibration
from encnet_jax.scoring.metrics import ConfusionMatrix
from encnet_jax.scoring.seen import Seen
from encnet_jax.scoring.thresholds import Thresholds


class ClassPresence:
    """Collects which classes each image contains, as predicted and as labelled.

    Attributes:
        num_classes: C.
    """

    def __init__(self, num_classes: int):
        self.num_classes = num_classes
        self._rows: list[np.ndarray] = []

    def add(self, example: dict, seen: Seen) -> None:
        """Adds the results of an image; does nothing if the network has no SE branch.

        Args:
            example: not used.
            seen: results of the image.
        """
        if seen.presence is not None:
            present = presence.present(seen.pairs.sum(1))
            row = np.stack([seen.presence, present.astype(np.float32)])
            self._rows.append(row.astype(np.float32))

    def average_precision(self) -> np.ndarray | None:
        """Returns the average precision of each class over the images of all processes.

        All processes must call this method.

        Returns:
            f64[C]; NaN for classes that occur in all images or in no image. If the
            network has no SE branch, the result is None.
        """
        empty = np.zeros((0, 2, self.num_classes), np.float32)
        rows = np.stack(self._rows) if self._rows else empty
        rows = gather(rows)
        if not len(rows):
            return None
        return presence.per_class(rows[:, 0], rows[:, 1] > 0)


class Quality:
    """Computes the scores that a confusion matrix does not contain.

    Pass the method `add` as a watch to Evaluator.confusion.

    Attributes:
        presence: which classes each image contains, as predicted and as labelled.
        boundary: pixel counts of boundary regions.
        calibration: statistics of the predicted probabilities.
        thresholds: counts for MaxF and average precision of one class; None if these
            scores are not computed.
    """

    def __init__(self, num_classes: int, thresholds: Thresholds | None = None):
        self.thresholds = thresholds
        self.presence = ClassPresence(num_classes)
        self.boundary = BoundaryCounts(num_classes)
        self.calibration = Calibration()

    def add(self, example: dict, seen: Seen) -> None:
        """Adds the results of an image.

        Args:
            example: dict with 'label' uint8[H, W].
            seen: results of the image, from an Evaluator with with_calibration=True.
        """
        self.presence.add(example, seen)
        label, ids = example["label"], seen.ids()
        self.boundary.update(label, ids)
        if seen.confidence is not None and seen.sums is not None:
            self.calibration.update(seen.confidence(), ids == label, seen.sums)
        if self.thresholds is not None:
            self.thresholds.add(example, seen)

    def summary(self, class_names: tuple[str, ...]) -> dict:
        """Returns the scores over the images of all processes, as a dict for JSON.

        All processes must call this method. Scores are in [0, 1], except 'nll' (in
        nats) and 'brier' (in [0, 2]). An undefined score is None. Keys of the dict:

        - 'boundary_iou_classes': the Boundary IoU of each class.
        - 'boundary_iou': the mean Boundary IoU over the classes that occur.
        - 'bands': for several distances in pixels, the mean IoU of the pixels that are
          at most this far from a pixel with a different label.
        - 'calibration_error', 'nll' and 'brier'; see Calibration.
        - 'reliability' and 'risk_coverage': the points of two plots; see Calibration.
        - 'presence_ap_classes': the average precision of the SE branch for each class;
          absent if the network has no SE branch.
        - 'presence_ap': the mean of the defined values in 'presence_ap_classes'; absent
          if the network has no SE branch.
        - the keys of Thresholds.summary; absent if `thresholds` is None.

        Args:
            class_names: names of the C classes.
        """
        found = self._of_boundaries(class_names) | self._of_probabilities()
        if self.thresholds is not None:
            found |= self.thresholds.summary()
        precision = self.presence.average_precision()
        if precision is not None:
            found["presence_ap"] = _mean(precision)
            found["presence_ap_classes"] = _named(class_names, precision)
        return found

    def _of_boundaries(self, class_names: tuple[str, ...]) -> dict:
        counts = self.boundary
        counts.regions = sum_over_processes(counts.regions)
        counts.bands = sum_over_processes(counts.bands)
        iou = counts.iou()
        bands = [
            ConfusionMatrix.from_counts(band).mean_iou("skip") for band in counts.bands
        ]
        return {
            "boundary_iou": _mean(iou),
            "boundary_iou_classes": _named(class_names, iou),
            "bands": dict(zip(map(str, BAND_WIDTHS_PX), bands, strict=True)),
        }

    def _of_probabilities(self) -> dict:
        sums = self.calibration
        sums.coverage = sum_over_processes(sums.coverage)
        sums.bins = sum_over_processes(sums.bins)
        sums.terms = sum_over_processes(sums.terms)
        confidence, accuracy, count = sums.reliability()
        kept, risk = sums.risk_coverage()
        few: np.ndarray = (
            np.unique(np.linspace(0, len(kept) - 1, 50).astype(int))
            if len(kept)
            else np.zeros(0, int)
        )
        return {
            "calibration_error": sums.expected_error(),
            "nll": sums.nll(),
            "brier": sums.brier(),
            "reliability": {
                "confidence": _listed(confidence),
                "accuracy": _listed(accuracy),
                "pixels": [int(x) for x in count],
            },
            "risk_coverage": {
                "kept": [float(kept[i]) for i in few],
                "accuracy": [float(risk[i]) for i in few],
            },
        }


def gather(rows: np.ndarray) -> np.ndarray:
    """Returns the rows of all processes, concatenated in the order of the processes.

    Args:
        rows: f32[n, ...], rows of this process; n can differ between processes.
    """
    if jax.process_count() == 1:
        return rows
    counts = multihost_utils.process_allgather(np.asarray([len(rows)], np.int32))
    padded = np.zeros((int(counts.max()), *rows.shape[1:]), rows.dtype)
    padded[: len(rows)] = rows
    parts = np.asarray(multihost_utils.process_allgather(padded))
    counts = counts.reshape(-1)
    return np.concatenate([part[:n] for part, n in zip(parts, counts, strict=True)])


def _mean(values: np.ndarray) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def _listed(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(x) else float(x) for x in values]


def _named(class_names: tuple[str, ...], values: np.ndarray) -> dict:
    return dict(zip(class_names, _listed(values), strict=True))
