"""Hooks of the loop that ask it to stop: the time is up, the workdir is gone."""

import time
from collections.abc import Callable

from etils import epath

from encnet_jax.errors import UserError
from encnet_jax.pods.signals import StopRequest


class Presence:
    """A hook that asks for a stop once the workdir was deleted under the run.

    What the run holds is saved then, in a new folder, and what was there is lost. The
    lock went with it: a second run could write there too.
    """

    def __init__(self, workdir: str, gone: Callable[[], bool], stop: StopRequest):
        self.workdir, self._gone, self._stop = workdir, gone, stop

    def __call__(self, step: int, state, metrics: dict) -> None:
        if self._gone():
            # Hooks that come later write into it.
            epath.Path(self.workdir).mkdir(parents=True, exist_ok=True)
            self._stop.request("the loss of the workdir")

    def check(self) -> None:
        """Raises UserError where it was deleted."""
        if self._gone():
            raise UserError(
                f"{self.workdir} was deleted while the run went on: what was in it is"
                " gone, and the newest state is saved in a new folder of that name; the"
                " same command goes on from there"
            )


class Deadline:
    """A hook that asks for a stop once the time is up."""

    def __init__(self, max_minutes: float, stop: StopRequest):
        self._reason, self._stop = f"train.max_minutes = {max_minutes}", stop
        self._end = time.monotonic() + (60 * max_minutes or float("inf"))

    def __call__(self, step: int, state, metrics: dict) -> None:
        if time.monotonic() > self._end:
            self._stop.request(self._reason)
