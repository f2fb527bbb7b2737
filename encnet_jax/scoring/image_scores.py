"""Collects and saves the pixel counts of each image, and the best and worst images."""

import heapq
from typing import Any

import numpy as np
from etils import epath
from PIL import Image

from encnet_jax.scoring.metrics import ConfusionMatrix
from encnet_jax.scoring.seen import Seen
from encnet_jax.storage import npz_file

KEEP = 4  # Number of best images, and of worst images.
LONG_SIDE_PX = 480  # Largest long side of the stored images.


def file_name(split: str, protocol: str, process_index: int) -> str:
    """Returns the name of the file that contains the image scores of one process."""
    return f"images-{split}-{protocol}-{process_index}.npz"


class ImageScores:
    """Collects pixel counts of all images, and the images with best and worst mean IoU.

    Pass the method `add` as a watch to Evaluator.confusion.
    """

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._counts: list[np.ndarray] = []
        self._presence: list[np.ndarray | None] = []
        # Heaps of (rank, number, image, label, prediction); the lowest rank is replaced
        # first.
        self._kept: dict[str, list] = {"best": [], "worst": []}

    def add(self, example: dict, seen: Seen) -> None:
        """Adds the results of an image.

        Args:
            example: dict with 'id', 'image' uint8[H, W, 3] and 'label' uint8[H, W].
            seen: results of the image.
        """
        pairs = seen.pairs
        number = len(self._ids)
        self._ids.append(str(example["id"]))
        counts = np.stack([np.diag(pairs), pairs.sum(1), pairs.sum(0)])
        self._counts.append(counts)
        self._presence.append(seen.presence)
        if not pairs.any():
            return
        score = mean_iou(counts)
        for name, rank in (("best", score), ("worst", -score)):
            heap = self._kept[name]
            if len(heap) < KEEP or rank > heap[0][0]:
                maps = (example["image"], example["label"], seen.ids())
                entry = (rank, number, *map(_small, maps))
                (heapq.heappush if len(heap) < KEEP else heapq.heapreplace)(heap, entry)

    def save(self, path: epath.Path, matrix: ConfusionMatrix, evaluation: int) -> None:
        """Writes the image scores of this process to an .npz file, atomically.

        The file contains these arrays for the N images of this process:

        - 'ids': str[N], the ids of the images.
        - 'counts': int64[N, 3, C], see mean_iou.
        - 'confusion': int64[C, C], the counts of `matrix`.
        - 'evaluation': the argument `evaluation`.
        - 'presence': f32[N, C], the predicted probability that each class occurs in the
          image; absent if the network has no SE branch.
        - 'best0': position in 'ids' of the image with the best mean IoU; 'best0_image',
          'best0_label' and 'best0_prediction': this image, its label map and the
          predicted label map.
        - 'best1', ..., 'worst0', 'worst1', ...: the same for other images, in order of
          mean IoU; 'worst0' is the worst image.

        Args:
            path: the .npz file.
            matrix: confusion matrix over the images of all processes.
            evaluation: number of this evaluation; the report contains the same number.
        """
        arrays: dict[str, Any] = {
            "ids": np.asarray(self._ids, dtype=str),
            "counts": np.asarray(self._counts, dtype=np.int64),
            "confusion": matrix.counts,
            "evaluation": np.asarray(evaluation),
        }
        if self._presence and self._presence[0] is not None:
            arrays["presence"] = np.asarray(self._presence, np.float32)
        for name, heap in self._kept.items():
            for place, (_, number, *maps) in enumerate(sorted(heap, reverse=True)):
                arrays[f"{name}{place}"] = np.asarray(number)
                for kind, pixels in zip(KINDS, maps, strict=True):
                    arrays[f"{name}{place}_{kind}"] = pixels
        npz_file.write(path, arrays, compressed=True)


KINDS = ("image", "label", "prediction")


def mean_iou(counts: np.ndarray) -> float:
    """Returns the mean IoU of an image, in [0, 1], over the classes that occur.

    A class occurs if it is the label or the prediction of any pixel. If no class
    occurs, the result is 0.

    Args:
        counts: int[3, C], numbers of pixels for each class. Row 0 counts pixels whose
            label and prediction are both this class; row 1, pixels whose label is this
            class; row 2, pixels whose prediction is this class.
    """
    right, labelled, predicted = counts
    union = labelled + predicted - right
    return float(np.mean(right[union > 0] / union[union > 0])) if union.any() else 0.0


def _small(pixels: np.ndarray) -> np.ndarray:
    """Shrinks an image or label map to a long side of at most LONG_SIDE_PX pixels."""
    height, width = pixels.shape[:2]
    scale = min(1.0, LONG_SIDE_PX / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    how = Image.Resampling.NEAREST if pixels.ndim == 2 else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(pixels).resize(size, how))
