"""Keeps the images and class ids of a data set in memory."""

import numpy as np

from encnet_jax.data.sources.records import Example


class ImageArrays:
    """Keeps images and class ids in memory.

    Implements the interface pipelines.dataset.Source.
    """

    def __init__(self, splits: dict[str, tuple[np.ndarray, np.ndarray]]):
        """Stores the splits without copying them.

        Args:
            splits: {split: (images uint8[N, S, S, 3], class ids uint8[N])}.
        """
        self._splits = splits

    def sizes(self) -> dict[str, int]:
        """Returns {split: number of examples}."""
        return {split: len(labels) for split, (_, labels) in self._splits.items()}

    def example(self, split: str, index: int) -> Example:
        """Returns an example, whose label is the class id as a uint8 scalar."""
        images, labels = self._splits[split]
        return Example(f"{split}_{index:05d}", images[index], labels[index])

    def arrays(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Returns (images uint8[N, S, S, 3], class ids uint8[N]) of a split."""
        return self._splits[split]


def with_validation(splits: dict) -> dict:
    """Returns `splits` with two additional splits, which are parts of 'train'.

    The split 'val' has the last tenth of the examples of 'train'. The split
    'train_without_val' has the first nine tenths. Images are not copied.

    Args:
        splits: {split: (images uint8[N, S, S, 3], class ids uint8[N])}.
    """
    images, labels = splits["train"]
    cut = len(labels) - len(labels) // 10
    return splits | {
        "train_without_val": (images[:cut], labels[:cut]),
        "val": (images[cut:], labels[cut:]),
    }
