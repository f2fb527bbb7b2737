"""Groups examples of equal or similar shapes into batches."""

import itertools
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any

import jax
import numpy as np

# Limits the host memory of examples that wait for others of the same size.
MAX_WAITING_BYTES = 512 * 2**20


def by_key(
    examples: Iterable[dict],
    size: int,
    key: Callable[[dict], Hashable],
    max_waiting_bytes: int = MAX_WAITING_BYTES,
) -> Iterator[list[dict]]:
    """Yields lists of `size` examples with equal keys.

    Incomplete lists are yielded at the end. If the waiting examples exceed
    `max_waiting_bytes`, the largest incomplete list is yielded earlier.

    Args:
        examples: the examples, dicts.
        size: number of examples in a list.
        key: function that returns the key of an example, such as its image size.
        max_waiting_bytes: limit for the arrays of all waiting examples.
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
    """Yields lists of `size` examples with similar keys; the last can be shorter.

    Args:
        examples: the examples, dicts.
        size: number of examples in a list; with 1, the order does not change.
        key: function that returns the key of an example, which must be sortable.
        sorted_groups: number of lists whose examples are sorted together.
    """
    examples = iter(examples)
    span = size * sorted_groups if size > 1 else 1
    while some := sorted(itertools.islice(examples, span), key=key):
        yield from (some[i : i + size] for i in range(0, len(some), size))


def stack(trees: list, size: int):
    """Stacks trees of equal structure and shapes; fills up with zeros to [size, ...].

    Args:
        trees: at most `size` trees of arrays.
        size: length of the new first axis.
    """

    def stacked(*arrays: np.ndarray) -> np.ndarray:
        widths = [(0, size - len(arrays))] + [(0, 0)] * arrays[0].ndim
        return np.pad(np.stack(arrays), widths)

    return jax.tree.map(stacked, *trees)
