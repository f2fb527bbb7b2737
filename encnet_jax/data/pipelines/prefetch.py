"""Computes results in advance, in threads, and yields the results in order."""

import collections
import concurrent.futures
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any


def map_ahead(
    fn: Callable[[Any], Any], items: Iterable[Any], *, ahead: int
) -> Iterator[Any]:
    """Yields fn(item) for each item in order; threads compute results in advance.

    Args:
        fn: function called in threads of this process. If `fn` raises an exception, the
            exception is raised in place of the result.
        items: arguments of fn; the number of items may be infinite.
        ahead: largest number of results that are computed in advance, at least 1.
    """
    items = iter(items)
    with concurrent.futures.ThreadPoolExecutor(_usable_cores()) as pool:
        pending = collections.deque(
            pool.submit(fn, item) for item in itertools.islice(items, ahead)
        )
        try:
            while pending:
                result = pending.popleft().result()
                pending.extend(
                    pool.submit(fn, item) for item in itertools.islice(items, 1)
                )
                yield result
        finally:
            for future in pending:
                future.cancel()


def _usable_cores() -> int:
    """Returns the number of CPU cores that this process may use.

    A batch system may allow a job fewer cores than the machine has.
    """
    if hasattr(os, "sched_getaffinity"):  # Not on macOS.
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
