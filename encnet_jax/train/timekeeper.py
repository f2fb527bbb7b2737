"""Records how a run spends its time, and reports the times at the end."""

import jax

from encnet_jax.train import starts
from encnet_jax.train.account import TimeAccount
from encnet_jax.train.logbook import Logbook


class TimeKeeper:
    """A training-loop hook that records steps and times in WORKDIR/time.json.

    Only process 0 writes the file; the times of other processes are similar.
    """

    def __init__(
        self, account: TimeAccount, logbook: Logbook, *, start_step: int, every: int
    ):
        """Reads the records of earlier starts, and adds a record for this start.

        Args:
            account: time account of this process.
            logbook: logbook of the run, in whose workdir time.json is written.
            start_step: step from which training starts.
            every: number of steps between two updates of time.json.
        """
        self._account, self._logbook, self._every = account, logbook, every
        self._earlier = starts.read(logbook.workdir)
        self._lost_s = starts.lost_seconds(self._earlier, start_step)
        self._start_step = self._newest = start_step
        self._write()

    def __call__(self, step: int, state, metrics: dict) -> None:
        """Updates time.json if due after this step."""
        self._newest = step
        if step % self._every == 0:
            self._write()

    def report(self) -> None:
        """Prints the time of each activity, and logs the times for TensorBoard."""
        every_start = self._write()
        scalars = {f"{name}_s": x for name, x in every_start[-1].seconds.items()}
        scalars |= {
            "lost_s": sum(start.lost_s for start in every_start),
            "goodput": starts.goodput(every_start),
        }
        self._logbook.times(self._newest, scalars)
        for line in starts.describe(every_start):
            self._logbook.note(line)

    def _write(self) -> list[starts.Start]:
        this = starts.Start(
            from_step=self._start_step,
            to_step=self._newest,
            seconds=self._account.seconds(),
            lost_s=self._lost_s,
        )
        if jax.process_index() == 0:
            starts.write(self._logbook.workdir, [*self._earlier, this])
        return [*self._earlier, this]
