"""Where a run's time goes: every moment of a process counts as exactly one part."""

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator

PARTS = ("start-up", "compiling", "steps", "input", "evaluation", "checkpoints")


def process_age_s() -> float:
    """Returns seconds since this process began; 0 where the system does not say."""
    try:
        with open("/proc/self/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        began = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - began)
    except (OSError, AttributeError, IndexError, ValueError):
        return 0.0


class TimeAccount:
    """Splits the time since a process began into PARTS, which sum to all of it.

    Work on the device that the host does not wait for has no part of its own: it is
    over when the host next waits for it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, age_s: float = 0.0):
        """Starts with 'start-up'.

        Args:
            clock: seconds, never falling.
            age_s: of the process so far, 'start-up' as well.
        """
        self._clock = clock
        self._seconds = dict.fromkeys(PARTS, 0.0) | {"start-up": age_s}
        self._part, self._since = "start-up", clock()

    def go_on_with(self, part: str) -> float:
        """Counts the time from now on as one of PARTS.

        Returns:
            Seconds since the last call, which are counted as the part before.
        """
        now = self._clock()
        passed = now - self._since
        self._seconds[self._part] += passed
        self._part, self._since = part, now
        return passed

    def move(self, seconds: float, source: str, target: str) -> None:
        """Counts seconds of one part as another's."""
        self._seconds[source] -= seconds
        self._seconds[target] += seconds

    @contextlib.contextmanager
    def doing(self, part: str) -> Iterator[None]:
        """Counts what is inside as one of PARTS, then goes on with the part before."""
        before = self._part
        self.go_on_with(part)
        try:
            yield
        finally:
            self.go_on_with(before)

    def seconds(self) -> dict[str, float]:
        """Returns the seconds of each part until now."""
        self.go_on_with(self._part)
        return dict(self._seconds)


def timed_input(
    batches: Iterable[dict], account: TimeAccount, device_is_done: Callable[[], bool]
) -> Iterator[dict]:
    """Yields batches; what the device waited for them counts as 'input'.

    A wait to whose end the device had work cost nothing, and counts as 'steps'. One at
    whose end it had none counts in full: too much where it had some at first.

    Args:
        batches: what to yield.
        account: counts the waits; between batches it goes on with 'steps'.
        device_is_done: whether the device has finished every step that it was given.
    """
    batches = iter(batches)
    while True:
        account.go_on_with("input")
        batch = next(batches, None)
        waited = account.go_on_with("steps")
        if batch is None:
            return
        if not device_is_done():
            account.move(waited, "input", "steps")
        yield batch
