"""The interface of data sets for training and evaluation."""

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import numpy as np

from encnet_jax.data.pipelines.order import BatchOrder, process_share
from encnet_jax.data.pipelines.prefetch import map_ahead
from encnet_jax.data.sources.info import DatasetInfo
from encnet_jax.data.sources.records import Example
from encnet_jax.errors import UserError

_EVAL_AHEAD = 16  # Number of images decoded ahead of the model.


class Source(Protocol):
    """The interface for reading decoded examples by split and index."""

    def sizes(self) -> dict[str, int]:
        """Returns {split: number of examples} for the available splits."""

    def example(self, split: str, index: int) -> Example:
        """Reads and decodes an example.

        Raises:
            UserError: the example is broken; the message names the broken file.
        """


class Dataset:
    """An opened data set: yields training batches and examples for evaluation.

    Attributes:
        info: the classes, colours and ids of the data set.
        source: reads single examples.
        data: Section `data` of the configuration.
    """

    def __init__(self, info: DatasetInfo, source: Source, data: Any):
        self.info = info
        self.source: Any = source  # Any: some sources have methods that Source lacks.
        self.data = data

    def num_examples(self, split: str) -> int:
        """Returns the number of examples in a split.

        Raises:
            UserError: the data set has no such split.
        """
        sizes = self.source.sizes()
        missing = getattr(self.source, "missing", {})
        if split in missing:
            raise missing[split]
        if split not in sizes:
            raise UserError(
                f"{self.info.name} has no split {split!r}; its splits:"
                f" {', '.join(sizes) or 'none'}; use an existing split, or prepare the"
                f" data set from a source with {split!r}"
            )
        return sizes[split]

    def num_labelled(self, split: str) -> int:
        """Returns the number of examples in a split, after checking that it has labels.

        Raises:
            UserError: the data set has no such split, or the split has no labels.
        """
        if split in self.info.unlabelled:
            raise UserError(
                f"{self.info.name} has no labels for {split!r}, a split for"
                " submissions to a test server; choose another split for training and"
                " scoring"
            )
        return self.num_examples(split)

    @property
    def keep_last_batch(self) -> bool:
        """Whether the incomplete last batch of an epoch is kept instead of dropped."""
        return False

    def train_batches(
        self,
        split: str,
        *,
        batch_size: int,
        seed: int,
        start_step: int = 0,
        process_index: int = 0,
        process_count: int = 1,
    ) -> Iterator[dict[str, np.ndarray]]:
        """Yields this process's part of each training batch, from `start_step` on.

        The iterator never ends. The pixels of a batch depend only on the seed and the
        index of the batch. Batches before start_step are not read.

        Args:
            split: Name of the split.
            batch_size: Number of images in the global batch.
            seed: non-negative seed of the order and the augmentation.
            start_step: Index of the first batch, counted from 0.
            process_index: Index of this process.
            process_count: number of processes; a batch is divided equally among them.

        Yields:
            A dict, where B is batch_size / process_count and S is data.crop_size:
            image: uint8[B, S, S, 3]; padding is black.
            label: uint8[B, S, S]; train ids 0..C-1 for C classes, or 255 at ignored and
                padded pixels.

        Raises:
            UserError: the split does not exist or has no labels, the batch size is
                invalid, or too many files are broken.
        """
        order = BatchOrder(
            self.num_labelled(split),
            batch_size,
            seed,
            process_index,
            process_count,
            keep_last=self.keep_last_batch,
        )
        order.indices(start_step)  # Raises now if the batch size is invalid.
        return self._batches(split, order, start_step)

    def _batches(
        self, split: str, order: BatchOrder, start_step: int
    ) -> Iterator[dict[str, np.ndarray]]:
        """Implements train_batches. Closing the returned iterator stops its threads."""
        raise NotImplementedError

    def eval_examples(
        self,
        split: str,
        *,
        process_index: int = 0,
        process_count: int = 1,
        max_images: int = 0,
    ) -> Iterator[dict[str, Any]]:
        """Yields this process's examples of a split for evaluation, in order.

        Each process reads a different contiguous part of the split.

        Args:
            split: Name of the split.
            process_index: Index of this process.
            process_count: Number of processes.
            max_images: use only the first max_images examples of the split; 0 for all.

        Yields:
            A dict with:
            image: uint8[H, W, 3], not resized.
            label: uint8[H, W], train ids 0..C-1 for C classes, or 255 at ignored
                pixels. In unlabelled splits, all pixels are 255.
            id: the name of the example.

        Raises:
            UserError: the split does not exist, or a file is broken.
        """
        share = self.eval_share(
            split,
            process_index=process_index,
            process_count=process_count,
            max_images=max_images,
        )
        return self._read(split, share)

    def eval_share(
        self, split: str, *, process_index: int, process_count: int, max_images: int
    ) -> range:
        """Returns the indices of the examples that eval_examples yields."""
        num_examples = self.num_examples(split)
        num_examples = min(num_examples, max_images or num_examples)
        return process_share(num_examples, process_index, process_count)

    def image_sizes(self, split: str, indices: Iterable[int]) -> list[tuple[int, int]]:
        """Returns (height, width) of the images with the given indices.

        Unreadable images are omitted. The images are decoded only if the source has no
        method `image_size`.
        """

        def size(index: int) -> tuple[int, int] | None:
            try:
                if hasattr(self.source, "image_size"):
                    return self.source.image_size(split, index)
                return self.source.example(split, index).image.shape[:2]
            except UserError:
                return None

        return list(filter(None, map_ahead(size, indices, ahead=_EVAL_AHEAD)))

    def spread_examples(self, split: str, number: int) -> Iterator[dict[str, Any]]:
        """Yields evenly spaced examples of a split, in the format of eval_examples.

        Consecutive examples are often too similar, for instance frames of a video.

        Args:
            split: Name of the split.
            number: Number of examples, at least 1. If the split has fewer examples, all
                of them are yielded.

        Raises:
            UserError: the split does not exist, or a file is broken.
        """
        return self._read(split, self._spread(split, number))

    def spread_sizes(self, split: str, number: int) -> list[tuple[int, int]]:
        """Returns (height, width) of evenly spaced images of a split.

        Unreadable images are omitted.

        Args:
            split: Name of the split.
            number: Number of images, at least 1. If the split has fewer images, all of
                them are used.
        """
        return self.image_sizes(split, self._spread(split, number))

    def _spread(self, split: str, number: int) -> list[int]:
        total = self.num_examples(split)
        number = min(number, total)
        return [i * total // number for i in range(number)]

    def _read(self, split: str, indices: Iterable[int]) -> Iterator[dict[str, Any]]:
        examples = map_ahead(
            lambda index: self.source.example(split, index), indices, ahead=_EVAL_AHEAD
        )
        return ({"image": e.image, "label": e.label, "id": e.name} for e in examples)
