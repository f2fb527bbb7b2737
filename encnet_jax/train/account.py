"""Accounts for a process's time: every moment counts as exactly one part."""

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
    """Splits the time since the start of a process into PARTS, which sum to all of it.

    Only time of the host is split. Work of the device appears in the part in which the
    host waits for it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, age_s: float = 0.0):
        """Starts to count 'start-up'.

        Args:
            clock: returns seconds; must not decrease.
            age_s: age of the process; counted as 'start-up' too.
        """
        self._clock = clock
        self._seconds = dict.fromkeys(PARTS, 0.0) | {"start-up": age_s}
        self._part, self._since = "start-up", clock()

    def switch(self, part: str) -> float:
        """Counts the time from now on as one of PARTS.

        Returns:
            Seconds since the last call; they are counted as the previous part.
        """
        now = self._clock()
        passed = now - self._since
        self._seconds[self._part] += passed
        self._part, self._since = part, now
        return passed

    def move(self, seconds: float, source: str, target: str) -> None:
        """Moves seconds from one part to another."""
        self._seconds[source] -= seconds
        self._seconds[target] += seconds

    @contextlib.contextmanager
    def doing(self, part: str) -> Iterator[None]:
        """Counts the block as one of PARTS, then switches back to the previous part."""
        before = self._part
        self.switch(part)
        try:
            yield
        finally:
            self.switch(before)

    def seconds(self) -> dict[str, float]:
        """Returns the seconds of each part so far."""
        self.switch(self._part)
        return dict(self._seconds)


def timed_input(
    batches: Iterable[dict], account: TimeAccount, device_is_done: Callable[[], bool]
) -> Iterator[dict]:
    """Yields batches, and counts the time that the device waited for them as 'input'.

    If the device was still busy when the batch arrived, the wait counts as 'steps',
    otherwise as 'input'. A wait during which the device became idle counts as 'input'
    in full, which is an overestimate.

    Args:
        batches: the batches to yield.
        account: this process's account; between batches it is switched to 'steps'.
        device_is_done: returns whether the device has finished all its steps.
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
