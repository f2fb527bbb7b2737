"""Fetches metrics from the device, checks that they are finite, and logs them."""

import math
from collections.abc import Callable

import jax

from encnet_jax.config import TrainConfig
from encnet_jax.errors import NotFiniteError
from encnet_jax.train.logbook import Logbook


def fetch(metrics: dict) -> dict[str, float]:
    """Copies metrics from the device to the host.

    Training steps transfer nothing else from the device.
    """
    return {name: float(value) for name, value in jax.device_get(metrics).items()}


class Scalars:
    """A training-loop hook that regularly logs metrics.

    The metrics of a step are fetched after the next step has started, so that the
    device never waits for the host.

    Attributes:
        every: number of steps between two logged steps.
    """

    def __init__(
        self,
        logbook: Logbook,
        learning_rate: Callable,
        train: TrainConfig,
        start_step: int,
    ):
        """Creates the hook.

        Args:
            logbook: writes the metrics.
            learning_rate: function that maps the number of completed updates to the
                learning rate.
            train: section `train` of the resolved configuration.
            start_step: step from which training starts.
        """
        self._logbook, self._learning_rate = logbook, learning_rate
        self.every = train.log_every_steps
        self._pending: tuple[int, dict] | None = None
        self._newest: tuple[int, dict] | None = None
        self._last_good = start_step

    def __call__(self, step: int, state, metrics: dict) -> None:
        """Stores the metrics of this step; logs the previous step's metrics if due."""
        if self._pending:
            self._write(*self._pending)
            self._pending = None
        self._newest = step, metrics
        if step % self.every == 0:
            self._pending = self._newest

    def device_is_done(self) -> bool:
        """Returns whether the device has finished the newest step."""
        return self._newest is None or all(
            value.is_ready() for value in self._newest[1].values()
        )

    def flush(self) -> None:
        """Fetches and logs the newest metrics now.

        Raises:
            NotFiniteError: a metric is NaN or infinite; the state must not be saved.
        """
        if self._newest:
            self._write(*self._newest)
        self._pending = self._newest = None

    def _write(self, step: int, metrics: dict) -> None:
        values = fetch(metrics)
        check_finite(values, self._last_good, step, self._logbook.saved_step)
        self._last_good = step
        rate = float(self._learning_rate(step - 1))
        self._logbook.write(step, values | {"learning_rate": rate})


def check_finite(
    values: dict[str, float], last_good: int, step: int, saved_step: int | None
) -> None:
    """Raises NotFiniteError if a value is NaN or infinite.

    Args:
        values: metrics of a step, by name.
        last_good: the last checked step whose metrics were finite.
        step: step of `values`.
        saved_step: step of the newest checkpoint; None if there is no checkpoint.
    """
    bad = ", ".join(name for name, x in values.items() if not math.isfinite(x))
    if not bad:
        return
    kept = "none" if saved_step is None else f"step {saved_step}"
    raise NotFiniteError(
        f"{bad} became NaN or infinite between steps {last_good} and {step}; last good"
        f" checkpoint: {kept}. Lower optim.base_lr or add optim.warmup_steps"
    )
