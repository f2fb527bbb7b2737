"""Collects boundary, calibration and class-presence scores during an evaluation."""

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
    """Collects predicted and true presence of classes in the images of this process.

    Attributes:
        num_classes: C.
    """

    def __init__(self, num_classes: int):
        self.num_classes = num_classes
        self._rows: list[np.ndarray] = []

    def add(self, example: dict, seen: Seen) -> None:
        """Adds an image, unless the network does not predict class presence.

        Args:
            example: not used; the arguments are those of a watch.
            seen: results of the image.
        """
        if seen.presence is not None:
            present = presence.present(seen.pairs.sum(1))
            row = np.stack([seen.presence, present.astype(np.float32)])
            self._rows.append(row.astype(np.float32))

    def average_precision(self) -> np.ndarray | None:
        """Returns the average precision of each class over all processes' images.

        All processes must call this method.

        Returns:
            f64[C], NaN for classes that are in every image or in none; None if the
            network has no SE branch.
        """
        empty = np.zeros((0, 2, self.num_classes), np.float32)
        rows = np.stack(self._rows) if self._rows else empty
        rows = gather(rows)
        if not len(rows):
            return None
        return presence.per_class(rows[:, 0], rows[:, 1] > 0)


class Quality:
    """Collects all scores other than the confusion matrix during an evaluation.

    Pass the method `add` to Evaluator.confusion as a watch.

    Attributes:
        presence: predicted and true presence of classes.
        boundary: pixel counts of boundary regions.
        calibration: statistics of the predicted probabilities.
        thresholds: scores of one class over thresholds of its probability; None if the
            data set does not define such a class.
    """

    def __init__(self, num_classes: int, thresholds: Thresholds | None = None):
        self.thresholds = thresholds
        self.presence = ClassPresence(num_classes)
        self.boundary = BoundaryCounts(num_classes)
        self.calibration = Calibration()

    def add(self, example: dict, seen: Seen) -> None:
        """Adds the results of an image.

        Args:
            example: dict with label uint8[H, W].
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

        All processes must call this method. Scores are in [0, 1], except 'nll' (nats)
        and 'brier' ([0, 2]); they are None if undefined. Keys:

        - 'boundary_iou', the mean over classes that occur, and 'boundary_iou_classes';
        - 'bands': for each width, the mean IoU of pixels within that distance of a
          contour;
        - 'calibration_error', 'nll', 'brier', and the points of two plots,
          'reliability' and 'risk_coverage';
        - with an SE branch, 'presence_ap_classes', the average precision of class
          presence, and 'presence_ap', the mean over classes for which it is defined;
        - the keys of Thresholds.summary, if the data set defines such a class.

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
