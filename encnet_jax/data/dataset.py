"""What training and evaluation ask of a data set, whatever it is read from."""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from encnet_jax.data import order
from encnet_jax.data.catalog import DatasetInfo
from encnet_jax.data.prefetch import map_ahead
from encnet_jax.data.records import Example
from encnet_jax.errors import UserError

_EVAL_AHEAD = 16  # Decoded images that wait for the model.


class Source(Protocol):
    """Random access to decoded examples."""

    def sizes(self) -> dict[str, int]:
        """Returns the number of examples of each split that is there."""

    def example(self, split: str, index: int) -> Example:
        """Returns an example; raises UserError, naming the file, if it is broken."""


class Dataset:
    """A data set that is there, ready to be read.

    Attributes:
        info: Its classes, colours and ids.
        source: Where its examples come from.
        data: The `data` fields of the configuration.
    """

    def __init__(self, info: DatasetInfo, source: Source, data: Any):
        self.info = info
        self.source = source
        self.data = data

    def num_examples(self, split: str) -> int:
        """Returns the number of examples in a split.

        Raises:
            UserError: the data set lacks the split.
        """
        sizes = self.source.sizes()
        if split not in sizes:
            raise UserError(
                f"{self.info.name} has no split {split!r} here, only "
                f"{', '.join(sizes) or 'none'}; choose another one, or prepare it from "
                "a source that has it"
            )
        return sizes[split]

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
        """Yields this process's part of the batches from start_step on, endlessly.

        Batch n, its pixels included, is a function of (seed, n) alone; starting at n
        reads nothing that comes before.

        Args:
            split: Name of the split.
            batch_size: Images in the global batch.
            seed: Non-negative; decides order and augmentation.
            start_step: The first batch, counted from 0.
            process_index: Which part of each batch to read.
            process_count: Number of parts.

        Yields:
            image: u8[batch_size / process_count, crop, crop, 3]; padding is black.
            label: u8[batch_size / process_count, crop, crop]; train ids 0..C-1, 255
                where ignored or padded.

        Raises:
            UserError: no such split, a batch size that does not fit, a broken file.
        """
        raise NotImplementedError

    def eval_examples(
        self, split: str, *, process_index: int = 0, process_count: int = 1
    ) -> Iterator[dict[str, Any]]:
        """Yields each example of a process's contiguous share once, in order.

        Yields:
            image: u8[H, W, 3] in its own size.
            label: u8[H, W], train ids 0..C-1 or 255.
            id: The example's name.

        Raises:
            UserError: no such split, a broken file.
        """
        share = order.process_share(
            self.num_examples(split), process_index, process_count
        )
        examples = map_ahead(
            lambda index: self.source.example(split, index), share, ahead=_EVAL_AHEAD
        )
        return ({"image": e.image, "label": e.label, "id": e.name} for e in examples)
