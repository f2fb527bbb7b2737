"""Measures how much time a process spends on activities such as 'compiling'."""

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator

PARTS = ("start-up", "compiling", "steps", "input", "evaluation", "checkpoints")


def process_age_s() -> float:
    """Returns this process's age in seconds; 0 if the system does not report it."""
    try:
        with open("/proc/self/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started)
    except (OSError, AttributeError, IndexError, ValueError):
        return 0.0


class TimeAccount:
    """Measures the seconds that a process spends on each activity in PARTS.

    The seconds of all activities sum to the running time of the process. The activities
    are those of the host, not of the device.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, age_s: float = 0.0):
        """Starts the account with the activity 'start-up'.

        Args:
            clock: function that returns a non-decreasing time in seconds.
            age_s: age of the process in seconds, which counts as 'start-up'.
        """
        self._clock = clock
        self._seconds = dict.fromkeys(PARTS, 0.0) | {"start-up": age_s}
        self._part, self._since = "start-up", clock()

    def switch(self, part: str) -> float:
        """Ends the current activity and starts another one.

        Args:
            part: the new activity, one of PARTS.

        Returns:
            Seconds since the previous switch; these count for the activity that ended.
        """
        now = self._clock()
        passed = now - self._since
        self._seconds[self._part] += passed
        self._part, self._since = part, now
        return passed

    def move(self, seconds: float, source: str, target: str) -> None:
        """Subtracts seconds from the activity `source` and adds them to `target`."""
        self._seconds[source] -= seconds
        self._seconds[target] += seconds

    @contextlib.contextmanager
    def doing(self, part: str) -> Iterator[None]:
        """Adds the time of a `with` block to an activity.

        The previous activity resumes after the block.

        Args:
            part: the activity, one of PARTS.
        """
        before = self._part
        self.switch(part)
        try:
            yield
        finally:
            self.switch(before)

    def seconds(self) -> dict[str, float]:
        """Returns the seconds spent on each activity so far."""
        self.switch(self._part)
        return dict(self._seconds)


def timed_input(
    batches: Iterable[dict], account: TimeAccount, device_is_done: Callable[[], bool]
) -> Iterator[dict]:
    """Yields batches, and measures how long the device waits for input.

    The waiting time for a batch counts as 'input' if the device is idle when the batch
    arrives, and as 'steps' otherwise. 'input' is an upper bound of the idle time,
    because the device may have been busy at the start of the wait.

    Args:
        batches: the batches to yield.
        account: time account of this process. The current activity is 'steps' while
            the caller uses a batch.
        device_is_done: function that returns whether the device has finished all steps
            that were submitted.
    """
    batches = iter(batches)
    while True:
        account.switch("input")
        batch = next(batches, None)
        waited = account.switch("steps")
        if batch is None:
            return
        if not device_is_done():
            account.move(waited, "input", "steps")
        yield batch
