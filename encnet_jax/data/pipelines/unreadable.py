"""Unreadable examples: counted, reported, and replaced as long as there are few."""

import sys
import threading
from collections.abc import Callable
from typing import TypeVar

from encnet_jax.errors import UserError

Result = TypeVar("Result")


class Unreadable:
    """The broken examples of one split; safe to use from several threads.

    A broken example is replaced by the next readable one, so that batches still depend
    only on the seed and the step.
    """

    def __init__(self, num_examples: int, max_share: float):
        """Starts without broken examples.

        Args:
            num_examples: Size of the split.
            max_share: largest fraction of broken examples; 0 stops at the first one.
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
        return index  # All are broken; reading it reports that.

    def add(self, index: int, error: UserError) -> None:
        """Counts and reports a broken example.

        Raises:
            UserError: they are too many; the example's own error if none is allowed.
        """
        with self._lock:
            new = index not in self._indices
            self._indices.add(index)
            count = len(self._indices)
        # Known ones too: without an error, other threads would retry forever.
        if not self._most:
            raise error
        if new:
            print(f"unreadable, skipped ({count}): {error}", file=sys.stderr)
        if count > self._most or count == self._num_examples:
            raise UserError(
                f"{count} of {self._num_examples} examples cannot be read; expected at"
                f" most {self._most} (data.max_unreadable_share); the last: {error}"
            )

    def read(self, index: int, fn: Callable[[int], Result]) -> Result:
        """Returns fn(index), or fn of the next readable example.

        Args:
            index: An example.
            fn: raises UserError with the file's name for a broken example.

        Raises:
            UserError: see add.
        """
        while True:
            place = self.substitute(index)
            try:
                return fn(place)
            except UserError as error:
                self.add(place, error)
