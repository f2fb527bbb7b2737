"""Stops a run between two steps, after a signal or at a deadline."""

import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

import jax
from jax.experimental import multihost_utils

Item = TypeVar("Item")
_GRACE_S = 3.0  # Time for the main thread to exit after a second Ctrl-C.


class Stopped(Exception):
    """Raised when a run stops before the end because a stop was requested."""


def _hangs_up() -> bool:
    terminal = sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()
    return terminal and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN


def exit_status(reason: str | None) -> int:
    """Returns the exit status of a stopped command.

    The status is 128 + the number of the signal that stopped the command, or 0 if the
    command was not stopped by a signal.

    Args:
        reason: attribute `reason` of a StopRequest.
    """
    number = getattr(signal.Signals, reason or "", None)
    return 0 if number is None else 128 + number


class _Answer:
    """Responds to Ctrl-C immediately, in a separate thread.

    Python runs signal handlers in the main thread, which may be compiling for minutes.
    The separate thread ends the process at the second Ctrl-C even while the main thread
    is busy.

    Attributes:
        interrupted: event that the main thread sets when it handles the second Ctrl-C
            itself; the separate thread then does not end the process.
    """

    def __init__(self) -> None:
        self.interrupted = threading.Event()
        self._pipe: tuple[int, int] | None = None
        self._before = -1

    def start(self) -> None:
        """Starts the separate thread, if called in the main thread."""
        if threading.current_thread() is not threading.main_thread():
            return
        self._pipe = os.pipe()
        os.set_blocking(self._pipe[1], False)
        self._before = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
        threading.Thread(target=self._listen, args=self._pipe[:1], daemon=True).start()

    def end(self) -> None:
        """Ends the separate thread."""
        if self._pipe is not None:
            signal.set_wakeup_fd(self._before)
            os.close(self._pipe[1])
            self._pipe = None

    def _listen(self, pipe: int) -> None:
        seen = 0
        while number := os.read(pipe, 1):
            if number[0] != signal.SIGINT:
                continue
            seen += 1
            if seen == 1:
                line = "stopping after the step or compilation in progress"
                line += "; press Ctrl-C again to stop now"
                print(f"Ctrl-C: {line}", file=sys.stderr, flush=True)
            elif not self.interrupted.wait(_GRACE_S):
                print("error: interrupted", file=sys.stderr, flush=True)
                os._exit(130)
        os.close(pipe)


class StopRequest:
    """A context manager that turns signals into a request to stop the run.

    The signals are SIGTERM, SIGINT and, in a terminal, SIGHUP, which is sent when the
    connection is lost. A run that was started with nohup ignores SIGHUP. A second
    SIGINT raises KeyboardInterrupt.

    All processes must stop after the same step, but a signal may reach only one
    process. In runs of several processes, JAX's preemption service therefore handles
    SIGTERM, forwards the request to the other processes, and chooses a step that no
    process has passed.

    Attributes:
        reason: name of the signal, or the reason passed to `request`; None if no stop
            was requested.
    """

    def __init__(self):
        self.reason = None
        self._agreed = False
        self._moment = 0
        self._previous = {}
        self._several = jax.process_count() > 1
        self._answer = _Answer()

    def __enter__(self) -> "StopRequest":
        self._answer.start()
        numbers = [signal.SIGINT]
        if not self._several:  # A handler for SIGTERM would replace JAX's.
            numbers.append(signal.SIGTERM)
        if _hangs_up():
            numbers.append(signal.SIGHUP)
        for number in numbers:
            self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._answer.end()

    def _note(self, number, frame) -> None:
        if self.reason and number == signal.SIGINT:
            self._answer.interrupted.set()
            raise KeyboardInterrupt
        self.request(signal.Signals(number).name)

    def request(self, reason: str) -> None:
        """Requests a stop; later calls do not change the reason."""
        if self.reason:
            return
        self.reason = reason
        if self._several:
            signal.raise_signal(signal.SIGTERM)

    def agreed(self) -> bool:
        """Returns whether the run must stop now; the result is equal in all processes.

        All processes must call this method at the same points of the run.
        """
        if not self._agreed:
            self._moment += 1
            if self._several:
                now = multihost_utils.reached_preemption_sync_point(self._moment)
                if now and not self.reason:
                    self.reason = "SIGTERM"  # In this process or another.
                self._agreed = now
            else:
                self._agreed = self.reason is not None
        return self._agreed

    def watch(self, items: Iterable[Item], times: int) -> Iterator[Item]:
        """Yields items until the processes agree to stop.

        Args:
            items: at most `times` items; their number may differ between processes.
            times: number of calls of `agreed` if the run is not stopped; equal in all
                processes.

        Raises:
            Stopped: the processes agreed to stop; each process raises this error after
                the same number of calls of `agreed`.
        """
        asked = 0
        for item in items:
            asked += 1
            self._raise_if_agreed()
            yield item
        for _ in range(asked, times):
            self._raise_if_agreed()

    def _raise_if_agreed(self) -> None:
        if self.agreed():
            raise Stopped(self.reason)
