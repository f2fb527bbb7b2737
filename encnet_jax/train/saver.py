"""Saves checkpoints of a run when due, and evaluates the saved states when due."""

import jax

from encnet_jax.checkpoints.checkpointer import Checkpointer
from encnet_jax.config import Config, TrainConfig
from encnet_jax.errors import UserError, is_out_of_memory, reason
from encnet_jax.pods import distributed, parallel
from encnet_jax.pods.signals import Stopped, StopRequest
from encnet_jax.train.account import TimeAccount
from encnet_jax.train.logbook import Logbook
from encnet_jax.train.save_schedule import SaveSchedule
from encnet_jax.train.scalars import Scalars
from encnet_jax.train.validate import Validator
from encnet_jax.train_state import TrainState


class Saver:
    """A training-loop hook that saves checkpoints and evaluates them when due.

    In a run with one process, an unreadable image or a lack of memory during validation
    does not stop training: a warning is printed, the checkpoint gets no score, and the
    run ends with an error after the last step.
    """

    def __init__(
        self,
        train: TrainConfig,
        checkpointer: Checkpointer,
        validator: Validator | None,
        scalars: Scalars,
        logbook: Logbook,
        account: TimeAccount,
        stop: StopRequest,
        *,
        config_to_save: Config,
    ):
        """Creates the hook, and starts to measure the time since the last save.

        Args:
            train: section `train` of the resolved configuration.
            checkpointer: writes the checkpoints.
            validator: evaluates states; None if there is no validation split.
            scalars, logbook, account, stop: objects of the run; see loop.Run.
            config_to_save: resolved configuration, saved in every checkpoint.
        """
        self._checkpointer, self._validator = checkpointer, validator
        self._scalars, self._logbook, self._account = scalars, logbook, account
        self._train, self._config_to_save = train, config_to_save
        self._stop = stop
        self._failures: dict[int, str] = {}  # Reason, by step.
        self._schedule = SaveSchedule(
            train.checkpoint_every_steps,
            60 * train.checkpoint_every_minutes,
            ask_every_steps=train.log_every_steps,
            agree=distributed.as_process_0,
        )

    def __call__(self, step: int, state: TrainState, metrics: dict) -> None:
        """Saves the state if due after this step, and then evaluates the state if due.

        If a stop is requested during the evaluation, the evaluation ends without a
        score.
        """
        last, every = step == self._train.total_steps, self._train.eval_every_steps
        validator = self._validator if last or (every and step % every == 0) else None
        if validator or last or self._schedule.due(step):
            self.save(step, state)
        if validator:
            self._evaluate(validator, step, state)

    def check(self) -> None:
        """Raises UserError if any validation of the run has failed."""
        if self._failures:
            steps = ", ".join(map(str, self._failures))
            raise UserError(
                f"validation failed at step {steps}, so no score was saved; reason of"
                f" the last failure: {self._failures[max(self._failures)]}"
            )

    def _evaluate(self, validator: Validator, step: int, state: TrainState) -> None:
        try:
            with self._account.doing("evaluation"):
                # Each process scores its own images, on its own devices.
                variables = parallel.replaced(
                    state.eval_variables(), parallel.replicated()
                )
                score = validator.score(variables, step)
        except Stopped:
            return
        except Exception as error:
            # The write of this state may still be in progress.
            missing = self._checkpointer.wait()
            expected = isinstance(error, (UserError, OSError, MemoryError))
            # Other processes, if there are any, would wait for this process's counts.
            alone = jax.process_count() == 1
            if missing or not alone or not (expected or is_out_of_memory(error)):
                raise
            why = self._failures[step] = reason(error, 500)
            self._logbook.note(
                f"warning: validation failed at step {step}, so the checkpoint has no"
                f" score; training continues; reason: {why}"
            )
            return
        with self._account.doing("checkpoints"):
            self._checkpointer.score(step, score)
        best, patience = self._checkpointer.best_since(), self._train.patience
        since = (step - best) // max(1, self._train.eval_every_steps)
        if 0 < patience <= since and step < self._train.total_steps:
            self._stop.request(
                f"train.patience = {patience}: no better score since step {best}"
            )

    def save(self, step: int, state: TrainState) -> None:
        """Saves a state as a checkpoint without a score.

        Raises:
            NotFiniteError: the newest metrics are NaN or infinite; nothing was saved.
        """
        self._scalars.flush()
        with self._account.doing("checkpoints"):
            self._checkpointer.save(state, self._config_to_save)
        self._logbook.saved_step = step
        self._schedule.saved()

    def close(self) -> None:
        """Waits until all checkpoints are written."""
        with self._account.doing("checkpoints"):
            self._checkpointer.close()
