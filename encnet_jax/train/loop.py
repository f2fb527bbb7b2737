"""Training from configuration to checkpoints: set-up, and the loop around the step."""

import time

import jax
import jax.numpy as jnp

from encnet_jax import config as config_lib
from encnet_jax import tasks
from encnet_jax.checkpoints.checkpointer import Checkpointer
from encnet_jax.pods import parallel
from encnet_jax.pods import workdir as workdir_lib
from encnet_jax.pods.signals import Stopped, StopRequest
from encnet_jax.train import initialise, optim
from encnet_jax.train.logbook import Logbook
from encnet_jax.train.step import parallel_step
from encnet_jax.train.tracing import StepTracer
from encnet_jax.train.validate import Validator
from encnet_jax.train_state import TrainState


def train(config, workdir: str) -> None:
    """Trains until the schedule ends, the time is up, or a signal asks to stop.

    Goes on from WORKDIR's newest checkpoint if there is one.

    Args:
        config: as returned by `config.load`, overrides applied.
        workdir: where checkpoints, configuration and TensorBoard scalars go.

    Raises:
        UserError: the data set is missing, a value is wrong, or the workdir is in use
            or holds a run with another configuration.
        NotFiniteError: the loss became NaN or infinite.
    """
    parallel.enable_compilation_cache()
    config_lib.resolve(config)  # A wrong value is told before a missing data set.
    dataset = tasks.open_dataset(config)
    num_examples = dataset.num_examples(config.data.train_split)
    config = config_lib.resolve(config, num_examples)
    parallel.check_batch_size(config.train.batch_size, config.train.accumulate)
    with (
        workdir_lib.locked(workdir),
        StopRequest() as stop,
        Checkpointer(workdir, config.train.keep_checkpoints) as checkpointer,
    ):
        if checkpointer.latest_step() is not None:
            saved = checkpointer.saved_config()
            workdir_lib.check_same_config(workdir, saved, config)
        workdir_lib.save_config(workdir, config)
        model, tx, state = set_up(config, dataset.info.num_classes, checkpointer)
        with Logbook(workdir, config, start_step=int(state.step)) as logbook:
            validator = Validator(config, dataset, logbook, stop)
            step_fn = parallel_step(model, tx, config)
            batches = dataset.train_batches(
                config.data.train_split,
                batch_size=config.train.batch_size,
                seed=config.seed,
                start_step=int(state.step),
                process_index=jax.process_index(),
                process_count=jax.process_count(),
            )
            saver = _Saver(checkpointer, validator, logbook, config, num_examples)
            with StepTracer(config.profile, workdir, logbook) as tracer:
                _loop(state, step_fn, batches, config, logbook, saver, tracer, stop)


def set_up(config, num_classes: int, checkpointer: Checkpointer):
    """Returns (model, optimiser, replicated state): restored, initialised, or fresh."""
    model = tasks.TASKS[config.task].build_model(config, num_classes, parallel.AXIS)
    variables = init_variables(model, config)
    resuming = checkpointer.latest_step() is not None
    if config.init_from and not resuming:
        variables, lines = initialise.initialise(variables, config)
        print("\n".join(lines))
    tx = optim.optimizer(
        config.optim,
        variables["params"],
        total_steps=config.train.total_steps,
        batch_size=config.train.batch_size,
    )
    state = TrainState.create(variables, tx, ema=config.optim.ema_decay > 0)
    state = parallel.replicate(state)
    if resuming:
        state = checkpointer.restore(state)
        print(f"resuming at step {int(state.step)} of {config.train.total_steps}")
    return model, tx, state


def init_variables(model, config) -> dict:
    """Returns {'params', 'batch_stats'}, a function of the model and config.seed."""
    images = jnp.zeros((1, config.data.crop_size, config.data.crop_size, 3))
    init = jax.jit(lambda key: model.init(key, images, train=False))
    return init(jax.random.key(config.seed))


def _loop(state, step_fn, batches, config, logbook, saver, tracer, stop) -> None:
    """Runs the steps; the host never waits for the device except to log or save."""
    total_steps = config.train.total_steps
    deadline = time.monotonic() + (60 * config.train.max_minutes or float("inf"))
    for step, batch in enumerate(parallel.feed(batches), start=int(state.step) + 1):
        if step > total_steps:
            break
        state, metrics = step_fn(state, batch)
        logbook.step_done(step, metrics)
        tracer.step_done(metrics)
        if time.monotonic() > deadline:
            stop.request(f"train.max_minutes = {config.train.max_minutes}")
        saver.step_done(state, step)
        if stop.agreed():
            saver.save(state, step)
            logbook.finish(
                f"stopped by {stop.reason} at step {step}; the same command goes on"
            )
            return
    logbook.finish(f"trained {total_steps} steps; checkpoints in {logbook.workdir}")


class _Saver:
    """Evaluates and saves when due; what is evaluated is saved with its score."""

    def __init__(self, checkpointer, validator, logbook, config, num_examples):
        self._checkpointer, self._validator = checkpointer, validator
        self._logbook, self._config = logbook, config
        train = config.train
        steps_per_epoch = max(1, num_examples // train.batch_size)
        self._eval_every = round(train.eval_every_epochs * steps_per_epoch)

    def step_done(self, state: TrainState, step: int) -> None:
        """Evaluates, then saves, if either is due after this step.

        A stop that is asked for during the evaluation ends it; nothing is saved then.
        """
        train = self._config.train
        last = step == train.total_steps
        score = None
        due = last or (self._eval_every and step % self._eval_every == 0)
        if due and self._config.data.val_split:
            self._logbook.flush()
            try:
                score = self._validator.score(state.eval_variables(), step)
            except Stopped:
                return
        if last or score is not None or step % train.checkpoint_every_steps == 0:
            self.save(state, step, score)

    def save(self, state: TrainState, step: int, score: float | None = None) -> None:
        """Saves, unless the newest metrics are not finite."""
        self._logbook.flush()
        self._checkpointer.save(state, self._config, score)
        self._logbook.saved(step)
