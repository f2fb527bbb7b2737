"""Examples that cannot be read: counted, named, and replaced while they are few."""

import sys
import threading
from collections.abc import Callable
from typing import TypeVar

from encnet_jax.errors import UserError

Result = TypeVar("Result")


class Unreadable:
    """What is known to be broken in one split; may be used from several threads.

    In place of a broken example the next one that can be read is taken, so that batches
    stay a function of the seed and the step.
    """

    def __init__(self, num_examples: int, max_share: float):
        """Starts with none.

        Args:
            num_examples: Size of the split.
            max_share: In [0, 1]; 0 stops at the first one.
        """
        self._num_examples = num_examples
        self._most = int(max_share * num_examples)
        self._indices: set[int] = set()
        self._lock = threading.Lock()

    def substitute(self, index: int) -> int:
        """Returns the example itself, or the next one not known to be broken."""
        for step in range(self._num_examples):
            other = (index + step) % self._num_examples
            if other not in self._indices:
                return other
        return index  # All are broken: reading it says so.

    def add(self, index: int, error: UserError) -> None:
        """Counts and names a broken example.

        Raises:
            UserError: they are too many; the example's own error if none is allowed.
        """
        with self._lock:
            new = index not in self._indices
            self._indices.add(index)
            count = len(self._indices)
        # Known or not: a thread that did not stop here would look for ever.
        if not self._most:
            raise error
        if new:
            print(f"unreadable, skipped ({count}): {error}", file=sys.stderr)
        if count > self._most or count == self._num_examples:
            raise UserError(
                f"{count} of {self._num_examples} examples cannot be read; wanted at"
                f" most {self._most} (data.max_unreadable_share); the last: {error}"
            )

    def read(self, index: int, fn: Callable[[int], Result]) -> Result:
        """Returns fn(index), or fn of the first example after it that can be read.

        Args:
            index: An example.
            fn: Raises UserError, naming the file, where one is broken.

        Raises:
            UserError: see add.
        """
        while True:
            place = self.substitute(index)
            try:
                return fn(place)
            except UserError as error:
                self.add(place, error)
