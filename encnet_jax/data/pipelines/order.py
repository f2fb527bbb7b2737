"""Selects the examples of each training step from the seed and the step's index."""

import dataclasses
import functools

import numpy as np

from encnet_jax.config import steps_per_epoch
from encnet_jax.errors import UserError

_ORDER_STREAM = 0  # Makes these random numbers independent of the augmentation's.


@functools.lru_cache(maxsize=4)
def _permutation(num_examples: int, seed: int, epoch: int) -> np.ndarray:
    rng = np.random.default_rng([_ORDER_STREAM, seed, epoch])
    order = rng.permutation(num_examples)
    order.flags.writeable = False  # A caller's change would alter the cached array.
    return order


def batch_indices(
    num_examples: int,
    batch_size: int,
    *,
    seed: int,
    step: int,
    process_index: int = 0,
    process_count: int = 1,
    keep_last: bool = False,
) -> tuple[int, np.ndarray]:
    """Returns the epoch of a step and the indices of this process's examples.

    In each epoch, the split is randomly permuted and divided into global batches. The
    global batch of a step does not depend on the number of processes.

    Args:
        num_examples: Number of examples in the split.
        batch_size: Number of images in the global batch, a multiple of process_count.
        seed: Seed of the permutations, non-negative.
        step: index of the step, counted from 0 over all epochs.
        process_index: Index of this process, in 0..process_count-1.
        process_count: number of processes; each process reads a contiguous part of the
            global batch.
        keep_last: whether the incomplete last batch of an epoch is kept instead of
            dropped.

    Returns:
        A tuple:
        epoch: int, counted from 0.
        indices: int64[batch_size / process_count], indices of examples in the split;
            an incomplete batch has fewer.

    Raises:
        UserError: batch_size is larger than the split, or the number of images in the
            batch is not a multiple of process_count.
    """
    steps = steps_per_epoch(num_examples, batch_size, keep_last)
    epoch, position = divmod(step, steps)
    first = position * batch_size
    size = min(batch_size, num_examples - first)
    if size % process_count:
        raise UserError(
            f"a batch has {size} images; expected a multiple of {process_count}, the"
            " number of processes; change train.batch_size or the number of processes"
        )
    share = size // process_count
    start = first + process_index * share
    return epoch, _permutation(num_examples, seed, epoch)[start : start + share]


@dataclasses.dataclass(frozen=True)
class BatchOrder:
    """Selects the examples that one process reads in each step.

    Attributes:
        num_examples: Number of examples in the split.
        batch_size: Number of images in the global batch.
        seed: Seed of the permutations, non-negative.
        process_index: Index of this process.
        process_count: number of processes; a batch is divided equally among them.
        keep_last: whether the incomplete last batch of an epoch is kept instead of
            dropped.
    """

    num_examples: int
    batch_size: int
    seed: int
    process_index: int = 0
    process_count: int = 1
    keep_last: bool = False

    @property
    def share(self) -> int:
        """Number of images of a full global batch that this process reads."""
        return self.batch_size // self.process_count

    @property
    def part(self) -> slice:
        """The slice of a full global batch that contains this process's images."""
        return self.part_of(self.share)

    def part_of(self, share: int) -> slice:
        """Returns this process's slice of a global batch.

        Args:
            share: number of images per process in the batch.
        """
        start = self.process_index * share
        return slice(start, start + share)

    def indices(self, step: int) -> tuple[int, np.ndarray]:
        """Returns the epoch of a step and the indices of this process's examples.

        See batch_indices.
        """
        return batch_indices(
            self.num_examples,
            self.batch_size,
            seed=self.seed,
            step=step,
            process_index=self.process_index,
            process_count=self.process_count,
            keep_last=self.keep_last,
        )


def process_share(num_examples: int, process_index: int, process_count: int) -> range:
    """Returns the contiguous range of example indices that one process reads.

    The ranges of all processes together cover 0..num_examples-1 without overlap. Their
    lengths differ by at most 1.
    """
    bounds = [num_examples * p // process_count for p in range(process_count + 1)]
    return range(bounds[process_index], bounds[process_index + 1])
