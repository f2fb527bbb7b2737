"""Requests to stop: by a signal or a deadline; a run stops when it can."""

import signal
import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

import jax
from jax.experimental import multihost_utils

Item = TypeVar("Item")


class Stopped(Exception):
    """Work was left unfinished because the run was asked to stop."""


def _hangs_up() -> bool:
    terminal = sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()
    return terminal and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN


def exit_status(reason: str | None) -> int:
    """Returns the status of a command that left its work: 128 + the signal's number.

    Args:
        reason: of a StopRequest; 0 is returned for None and for deadlines.
    """
    number = getattr(signal.Signals, reason or "", None)
    return 0 if number is None else 128 + number


class StopRequest:
    """While entered, notes the first signal; a second SIGINT interrupts.

    These are SIGTERM, SIGINT and, in a terminal, SIGHUP: its connection was lost.
    Started with nohup, a run ignores SIGHUP and goes on.

    With several processes a request reaches all through JAX's preemption service, which
    listens to SIGTERM itself and picks a moment that none has passed. A save needs all
    of them, and a signal may have come to one.

    Attributes:
        reason: what asked for the stop, or None.
    """

    def __init__(self):
        self.reason = None
        self._agreed = False
        self._moment = 0
        self._previous = {}
        self._several = jax.process_count() > 1

    def __enter__(self) -> "StopRequest":
        numbers = [signal.SIGINT]
        if not self._several:  # A handler for SIGTERM would take JAX's own away.
            numbers.append(signal.SIGTERM)
        if _hangs_up():
            numbers.append(signal.SIGHUP)
        for number in numbers:
            self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number, frame) -> None:
        if self.reason and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.request(signal.Signals(number).name)

    def request(self, reason: str) -> None:
        """Asks for a stop on behalf of this process; the first reason counts."""
        if self.reason:
            return
        self.reason = reason
        if self._several:
            signal.raise_signal(signal.SIGTERM)

    def agreed(self) -> bool:
        """Returns whether to stop now; the same answer in every process.

        All processes must ask equally often and in the same order.
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
        """Yields items until a stop is agreed.

        Args:
            items: at most `times`; their number may differ between processes.
            times: how often to ask, equal in all processes.

        Raises:
            Stopped: a stop is agreed, at the same question in every process.
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
