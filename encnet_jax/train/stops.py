"""Training-loop hooks that stop a run at a time limit, or if the workdir is gone."""

import time
from collections.abc import Callable

from etils import epath

from encnet_jax.errors import UserError
from encnet_jax.pods.signals import StopRequest


class Presence:
    """A training-loop hook that requests a stop if the workdir was deleted.

    The current state is then saved in a new folder with the same name. The old contents
    are lost, including the lock that prevents a second run from using the folder.
    """

    def __init__(self, workdir: str, gone: Callable[[], bool], stop: StopRequest):
        self.workdir, self._gone, self._stop = workdir, gone, stop

    def __call__(self, step: int, state, metrics: dict) -> None:
        if self._gone():
            # Later hooks write into the folder.
            epath.Path(self.workdir).mkdir(parents=True, exist_ok=True)
            self._stop.request("the deletion of the workdir")

    def check(self) -> None:
        """Raises UserError if the workdir was deleted."""
        if self._gone():
            raise UserError(
                f"{self.workdir} was deleted during the run: the old contents are lost,"
                " but the newest state was saved in a new folder with the same name;"
                " the same command resumes the run"
            )


class Deadline:
    """A training-loop hook that requests a stop when the time limit is reached."""

    def __init__(self, max_minutes: float, stop: StopRequest):
        self._reason, self._stop = f"train.max_minutes = {max_minutes}", stop
        self._end = time.monotonic() + (60 * max_minutes or float("inf"))

    def __call__(self, step: int, state, metrics: dict) -> None:
        if time.monotonic() > self._end:
            self._stop.request(self._reason)
