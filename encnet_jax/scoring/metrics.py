"""Pixel accuracy and intersection over union (IoU), from confusion matrices."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float64, Int32, Integer

from encnet_jax.labels import IGNORE_LABEL


class ConfusionMatrix:
    """Counts of (label, prediction) pairs, and the scores of the ADE20K benchmark.

    Attributes:
        counts: int64[C, C]; row = label, column = prediction.
        ignore_label: pixels with this label are not counted.
        not_finite: number of labelled pixels that `counts` omits, because their scores
            are NaN or infinite.

    Source: the evaluation code of CSAILVision/sceneparsing, which the paper uses.
    """

    def __init__(self, num_classes: int, ignore_label: int = IGNORE_LABEL):
        self.counts = np.zeros((num_classes, num_classes), np.int64)
        self.ignore_label = ignore_label
        self.not_finite = 0

    @classmethod
    def from_counts(cls, counts: Integer[np.ndarray, "C C"]) -> "ConfusionMatrix":
        """Creates a ConfusionMatrix from counts int[C, C]; rows are labels."""
        matrix = cls(len(counts))
        matrix.counts += np.asarray(counts, np.int64)
        return matrix

    def update(
        self,
        labels: Integer[np.ndarray, "..."],
        predictions: Integer[np.ndarray, "..."],
    ) -> None:
        """Adds the (label, prediction) pairs of two arrays of equal shapes.

        Args:
            labels: ids 0..C-1, or ignore_label for pixels that are not counted.
            predictions: ids 0..C-1.

        Raises:
            ValueError: the shapes differ, or an id is out of range.
        """
        labels, predictions = np.asarray(labels), np.asarray(predictions)
        if labels.shape != predictions.shape:
            raise ValueError(
                f"labels have shape {labels.shape}, but predictions have shape"
                f" {predictions.shape}; expected equal shapes"
            )
        valid = labels != self.ignore_label
        labels, predictions = labels[valid].astype(int), predictions[valid].astype(int)
        num_classes = len(self.counts)
        for name, ids in (("label", labels), ("prediction", predictions)):
            if ids.size and not 0 <= ids.min() <= ids.max() < num_classes:
                raise ValueError(
                    f"{name} ids range from {ids.min()} to {ids.max()}; expected 0 to"
                    f" {num_classes - 1}"
                )
        pairs = np.bincount(
            labels * num_classes + predictions, minlength=num_classes**2
        )
        self.counts += pairs.reshape(num_classes, num_classes)

    def __add__(self, other: "ConfusionMatrix") -> "ConfusionMatrix":
        return ConfusionMatrix.from_counts(self.counts + other.counts)

    def pixel_accuracy(self) -> float:
        """Returns the fraction of counted pixels that are predicted correctly."""
        return float(np.trace(self.counts) / max(self.counts.sum(), 1))

    def iou(self) -> Float64[np.ndarray, " C"]:
        """Returns the IoU of each class.

        Returns:
            f64[C]; NaN for classes that occur in neither labels nor predictions.
        """
        intersection = np.diag(self.counts)
        union = self.counts.sum(0) + self.counts.sum(1) - intersection
        return np.where(union > 0, intersection / np.maximum(union, 1), np.nan)

    def mean_iou(self, absent: str = "zero") -> float:
        """Returns the mean IoU over classes, in [0, 1].

        Args:
            absent: how to treat classes that occur in neither labels nor predictions:
                'zero' counts them with an IoU of 0, as the benchmark does; 'skip' omits
                them from the mean.

        Raises:
            ValueError: `absent` is neither 'zero' nor 'skip'.
        """
        if absent not in ("zero", "skip"):
            raise ValueError(
                f"argument 'absent' is {absent!r}; expected 'zero' or 'skip'"
            )
        iou = self.iou()
        if absent == "zero":
            return float(np.nan_to_num(iou).mean())
        return float(np.nanmean(iou)) if np.isfinite(iou).any() else 0.0


def count_pairs(
    labels: Integer[jax.Array, " N"],
    predictions: Integer[jax.Array, " N"],
    num_classes: int,
) -> Int32[jax.Array, "{num_classes} {num_classes}"]:
    """Counts (label, prediction) pairs on the device.

    Pairs with an id outside 0..C-1, such as IGNORE_LABEL, are not counted.

    Args:
        labels, predictions: integer[N], class ids; N must be below 2**24.
        num_classes: C.

    Returns:
        int32[C, C]; row = label, column = prediction.
    """
    # A product of one-hot matrices, because scatters are slow on TPUs. Sums of ones in
    # float32 are exact up to 2**24.
    one_hot_labels = jax.nn.one_hot(labels, num_classes, dtype=jnp.bfloat16)
    one_hot_predictions = jax.nn.one_hot(predictions, num_classes, dtype=jnp.bfloat16)
    counts = jnp.einsum(
        "nl,np->lp",
        one_hot_labels,
        one_hot_predictions,
        preferred_element_type=jnp.float32,
    )
    return counts.astype(jnp.int32)
