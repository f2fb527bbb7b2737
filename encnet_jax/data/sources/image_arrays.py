"""Images with one label each, kept in memory."""

import numpy as np

from encnet_jax.data.sources.records import Example


class ImageArrays:
    """Keeps images and class ids in memory; implements pipelines.dataset.Source."""

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
        """Returns an example whose label is a class id uint8[]."""
        images, labels = self._splits[split]
        return Example(f"{split}_{index:05d}", images[index], labels[index])

    def arrays(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Returns the images uint8[N, S, S, 3] and class ids uint8[N] of a split."""
        return self._splits[split]


def with_validation(splits: dict) -> dict:
    """Adds the splits 'val' (the last tenth of 'train') and 'train_without_val'.

    For CIFAR-10, whose split 'train' has 50,000 images, 'val' has the last 5,000 images
    and 'train_without_val' the first 45,000. No images are copied.

    Args:
        splits: {split: (images, class ids)}; see ImageArrays.
    """
    images, labels = splits["train"]
    cut = len(labels) - len(labels) // 10
    return splits | {
        "train_without_val": (images[:cut], labels[:cut]),
        "val": (images[cut:], labels[cut:]),
    }
