"""Counts, reports and replaces unreadable examples, up to a limit."""

import sys
import threading
from collections.abc import Callable
from typing import TypeVar

from encnet_jax.errors import UserError

Result = TypeVar("Result")


class Unreadable:
    """Counts and replaces the broken examples of one split; thread-safe.

    A broken example is replaced by the next readable example, so that batches still
    depend only on the seed and the step.
    """

    def __init__(self, num_examples: int, max_share: float):
        """Sets the limit on broken examples.

        Args:
            num_examples: Number of examples in the split.
            max_share: largest allowed fraction of broken examples; with 0, the first
                broken example raises an error.
        """
        self._num_examples = num_examples
        self._most = int(max_share * num_examples)
        self._indices: set[int] = set()
        self._lock = threading.Lock()

    def substitute(self, index: int) -> int:
        """Returns `index`, or the next index whose example is not known to be broken.

        The search continues at 0 after the last index. If all examples are broken,
        `index` is returned.
        """
        for step in range(self._num_examples):
            other = (index + step) % self._num_examples
            if other not in self._indices:
                return other
        return index  # All are broken; reading this one reports the error.

    def add(self, index: int, error: UserError) -> None:
        """Counts and reports a broken example.

        Raises:
            UserError: too many examples are broken. If no broken examples are allowed,
                `error` is raised unchanged.
        """
        with self._lock:
            new = index not in self._indices
            self._indices.add(index)
            count = len(self._indices)
        # Also raises for known examples: other threads would otherwise retry forever.
        if not self._most:
            raise error
        if new:
            print(f"unreadable, skipped ({count}): {error}", file=sys.stderr)
        if count > self._most or count == self._num_examples:
            raise UserError(
                f"{count} of {self._num_examples} examples cannot be read; expected at"
                f" most {min(self._most, self._num_examples - 1)}; correct the files or"
                f" raise data.max_unreadable_share; the last error: {error}"
            )

    def read(self, index: int, fn: Callable[[int], Result]) -> Result:
        """Reads an example. If it is broken, the next readable example is read instead.

        Args:
            index: index of the example.
            fn: function that reads the example with a given index; it must raise
                UserError if the example is broken.

        Returns:
            The result of `fn`.

        Raises:
            UserError: too many examples are broken; see `add`.
        """
        while True:
            place = self.substitute(index)
            try:
                return fn(place)
            except UserError as error:
                self.add(place, error)
