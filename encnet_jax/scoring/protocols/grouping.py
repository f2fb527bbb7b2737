"""Groups examples with images of equal or similar sizes into batches."""

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

    Examples wait in incomplete lists, one for each key, until a list is complete. At
    the end, the incomplete lists are yielded.

    Args:
        examples: the examples, dicts.
        size: number of examples in a list.
        key: function that returns the key of an example, such as the image size.
        max_waiting_bytes: maximum size of the arrays of all waiting examples. If the
            arrays are larger, the incomplete list with the most bytes is yielded.
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
    """Yields lists of `size` examples with similar keys; the last list can be shorter.

    Reads `size * sorted_groups` examples at a time, and sorts these examples by key. If
    `size` is 1, the order of the examples does not change.

    Args:
        examples: the examples, dicts.
        size: number of examples in a list.
        key: function that returns the sort key of an example.
        sorted_groups: number of lists whose examples are sorted together.
    """
    examples = iter(examples)
    span = size * sorted_groups if size > 1 else 1
    while some := sorted(itertools.islice(examples, span), key=key):
        yield from (some[i : i + size] for i in range(0, len(some), size))


def stack(trees: list, size: int):
    """Stacks pytrees of arrays along a new first axis, and pads this axis to `size`.

    Args:
        trees: at most `size` pytrees of equal structure and array shapes.
        size: length of the new first axis. The padding is zeros.
    """

    def stacked(*arrays: np.ndarray) -> np.ndarray:
        widths = [(0, size - len(arrays))] + [(0, 0)] * arrays[0].ndim
        return np.pad(np.stack(arrays), widths)

    return jax.tree.map(stacked, *trees)
