"""Decides when a checkpoint is due: after a number of steps, or after some time."""

import time
from collections.abc import Callable


class SaveSchedule:
    """Decides after each step whether to save a checkpoint.

    The time since the last save is checked only every `ask_every_steps` steps, because
    the check requires communication: all processes of a run must agree.
    """

    def __init__(
        self,
        every_steps: int,
        every_s: float,
        *,
        ask_every_steps: int,
        agree: Callable[[bool], bool],
        clock: Callable[[], float] = time.monotonic,
    ):
        """Starts to measure the time since the last save.

        Args:
            every_steps: save when the step is a multiple of this number.
            every_s: also save if this number of seconds has passed since the last save;
                0 saves only by steps.
            ask_every_steps: steps between two checks of the time.
            agree: function that maps the decision of this process to a decision that is
                the same in all processes.
            clock: function that returns the time in seconds.
        """
        self._every_steps, self._every_s = every_steps, every_s
        self._ask_every_steps, self._agree = ask_every_steps, agree
        self._clock, self._saved_at = clock, clock()

    def due(self, step: int) -> bool:
        """Returns whether to save after this step; the same value in all processes."""
        if step % self._every_steps == 0:
            return True
        if not self._every_s or step % self._ask_every_steps:
            return False
        return self._agree(self._clock() - self._saved_at >= self._every_s)

    def saved(self) -> None:
        """Resets the time since the last save; must be called at every save."""
        self._saved_at = self._clock()
