"""When a checkpoint is due: after so many steps, or after so much time."""

import time
from collections.abc import Callable


class SaveSchedule:
    """Says after each step whether to save.

    Time is looked at every `ask_every_steps` steps only, because the processes of a run
    must agree on it, and each question costs them an exchange.
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
        """Starts to count now.

        Args:
            every_steps: steps whose multiples are saved.
            every_s: seconds after the last save; 0: steps alone decide.
            ask_every_steps: see the class.
            agree: makes one process's answer that of all.
            clock: seconds.
        """
        self._every_steps, self._every_s = every_steps, every_s
        self._ask_every_steps, self._agree = ask_every_steps, agree
        self._clock, self._saved_at = clock, clock()

    def due(self, step: int) -> bool:
        """Returns whether to save after this step, equal in all processes."""
        if step % self._every_steps == 0:
            return True
        if not self._every_s or step % self._ask_every_steps:
            return False
        return self._agree(self._clock() - self._saved_at >= self._every_s)

    def saved(self) -> None:
        """Starts to count the time again; called at every save."""
        self._saved_at = self._clock()
