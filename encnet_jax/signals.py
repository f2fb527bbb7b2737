"""Requests to stop: SIGTERM and Ctrl-C are noted, and the loop leaves when it can."""

import signal


class StopRequest:
    """While entered, notes the first SIGTERM or SIGINT; a second SIGINT interrupts.

    Attributes:
        name: of the signal, or None.
    """

    def __init__(self):
        self.name = None
        self._previous = {}

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGTERM, signal.SIGINT):
            self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number, frame) -> None:
        if self.name and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.name = signal.Signals(number).name

    def __bool__(self) -> bool:
        return self.name is not None
