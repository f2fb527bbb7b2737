"""When to evaluate and when to save; what is evaluated is saved with its score."""

from encnet_jax import config as config_lib
from encnet_jax.checkpoints.checkpointer import Checkpointer
from encnet_jax.pods import distributed
from encnet_jax.pods.signals import Stopped
from encnet_jax.train.account import TimeAccount
from encnet_jax.train.logbook import Logbook
from encnet_jax.train.save_schedule import SaveSchedule
from encnet_jax.train.scalars import Scalars
from encnet_jax.train.validate import Validator
from encnet_jax.train_state import TrainState


class Saver:
    """A hook that evaluates and saves when due."""

    def __init__(
        self,
        checkpointer: Checkpointer,
        validator: Validator,
        scalars: Scalars,
        logbook: Logbook,
        account: TimeAccount,
        *,
        config,
        num_examples: int,
    ):
        """Takes where states go, what scores them, and the resolved configuration.

        Args:
            checkpointer, validator, scalars, logbook, account: of the run.
            config: resolved.
            num_examples: training images; they give an epoch its steps.
        """
        self._checkpointer, self._validator = checkpointer, validator
        self._scalars, self._logbook, self._config = scalars, logbook, config
        self._account = account
        train = config.train
        steps_per_epoch = config_lib.steps_per_epoch(config, num_examples)
        self._eval_every = round(train.eval_every_epochs * steps_per_epoch)
        self._schedule = SaveSchedule(
            train.checkpoint_every_steps,
            60 * train.checkpoint_every_minutes,
            ask_every_steps=train.log_every_steps,
            agree=distributed.as_process_0,
        )

    def __call__(self, step: int, state: TrainState, metrics: dict) -> None:
        """Evaluates, then saves, if either is due after this step.

        A stop that is asked for during the evaluation ends it; nothing is saved then.
        """
        train = self._config.train
        last = step == train.total_steps
        score = None
        due = last or (self._eval_every and step % self._eval_every == 0)
        if due and self._config.data.val_split:
            self._scalars.flush()
            try:
                with self._account.doing("evaluation"):
                    score = self._validator.score(state.eval_variables(), step)
            except Stopped:
                return
        if last or score is not None or self._schedule.due(step):
            self.save(step, state, score)

    def save(self, step: int, state: TrainState, score: float | None = None) -> None:
        """Saves.

        Raises:
            NotFiniteError: the newest metrics are not finite; nothing was saved.
        """
        self._scalars.flush()
        with self._account.doing("checkpoints"):
            self._checkpointer.save(state, self._config, score)
        self._logbook.saved_step = step
        self._schedule.saved()
