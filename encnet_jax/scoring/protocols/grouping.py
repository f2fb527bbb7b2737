"""Groups examples of one shape into batches."""

import itertools
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any

import jax
import numpy as np

# Limit for examples that wait for others of the same size: bounds host memory.
MAX_WAITING_BYTES = 512 * 2**20


def by_key(
    examples: Iterable[dict],
    size: int,
    key: Callable[[dict], Hashable],
    max_waiting_bytes: int = MAX_WAITING_BYTES,
) -> Iterator[list[dict]]:
    """Yields lists of `size` examples with equal keys, then shorter lists of the rest.

    If the waiting arrays exceed max_waiting_bytes, the largest group is yielded
    although it is not full.
    """
    waiting, held = defaultdict(list), 0
    for example in examples:
        name = key(example)
        waiting[name].append(example)
        held += _num_bytes(example)
        if len(waiting[name]) < size:
            if held <= max_waiting_bytes:
                continue
            name = max(waiting, key=lambda name: sum(map(_num_bytes, waiting[name])))
        group = waiting.pop(name)
        held -= sum(map(_num_bytes, group))
        yield group
    yield from waiting.values()


def _num_bytes(example: dict) -> int:
    return sum(x.nbytes for x in example.values() if isinstance(x, np.ndarray))


def by_similarity(
    examples: Iterable[dict],
    size: int,
    key: Callable[[dict], Any],
    sorted_groups: int = 8,
) -> Iterator[list[dict]]:
    """Yields lists of `size` examples (the last may be shorter) with similar keys.

    `sorted_groups` groups are sorted together; a size of 1 keeps the order.
    """
    examples = iter(examples)
    span = size * sorted_groups if size > 1 else 1
    while some := sorted(itertools.islice(examples, span), key=key):
        yield from (some[i : i + size] for i in range(0, len(some), size))


def stack(trees: list, size: int):
    """Stacks trees of arrays of equal shapes to [size, ...], padded with zeros."""

    def stacked(*arrays: np.ndarray) -> np.ndarray:
        widths = [(0, size - len(arrays))] + [(0, 0)] * arrays[0].ndim
        return np.pad(np.stack(arrays), widths)

    return jax.tree.map(stacked, *trees)
