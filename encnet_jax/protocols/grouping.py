"""Which examples share a batch of one shape."""

import itertools
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator

import jax
import numpy as np

MAX_WAITING = 256  # Examples held back for company, so that host memory stays flat.


def by_key(
    examples: Iterable[dict],
    size: int,
    key: Callable[[dict], Hashable],
    max_waiting: int = MAX_WAITING,
) -> Iterator[list[dict]]:
    """Yields lists of at most `size` examples with equal keys, full ones first.

    Where more than max_waiting examples wait, the largest group goes ahead unfilled.
    """
    waiting = defaultdict(list)
    for example in examples:
        name = key(example)
        waiting[name].append(example)
        if len(waiting[name]) == size:
            yield waiting.pop(name)
        elif sum(map(len, waiting.values())) > max_waiting:
            yield waiting.pop(max(waiting, key=lambda name: len(waiting[name])))
    yield from waiting.values()


def by_similarity(
    examples: Iterable[dict],
    size: int,
    key: Callable[[dict], object],
    sorted_groups: int = 8,
) -> Iterator[list[dict]]:
    """Yields lists of `size` examples (the last may be shorter) with similar keys.

    Several groups' worth of examples are sorted at a time; a size of 1 sorts nothing.
    """
    examples = iter(examples)
    span = size * sorted_groups if size > 1 else 1
    while some := sorted(itertools.islice(examples, span), key=key):
        yield from (some[i : i + size] for i in range(0, len(some), size))


def stack(trees: list, size: int):
    """Stacks trees of equally shaped arrays to [size, ...]; zeros fill it up."""

    def stacked(*arrays: np.ndarray) -> np.ndarray:
        widths = [(0, size - len(arrays))] + [(0, 0)] * arrays[0].ndim
        return np.pad(np.stack(arrays), widths)

    return jax.tree.map(stacked, *trees)
