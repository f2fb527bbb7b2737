"""Trains a network: sets up a run, and loops over the training steps."""

import contextlib
from collections.abc import Generator, Iterable
from typing import NamedTuple, cast

import jax
from ml_collections import ConfigDict

from encnet_jax import config as config_lib
from encnet_jax.checkpoints.checkpointer import Checkpointer
from encnet_jax.config import Config, TrainConfig
from encnet_jax.data import Dataset
from encnet_jax.data.check.facts import facts, scored_pixels
from encnet_jax.errors import UserError
from encnet_jax.pods import agreement, distributed, parallel
from encnet_jax.pods import workdir as workdir_lib
from encnet_jax.pods.signals import StopRequest
from encnet_jax.train import opening
from encnet_jax.train.account import TimeAccount, timed_input
from encnet_jax.train.assemble import Assembled, assemble
from encnet_jax.train.initialise import initialise
from encnet_jax.train.logbook import Logbook
from encnet_jax.train.prepared import prepared
from encnet_jax.train.saver import Saver
from encnet_jax.train.scalars import Scalars
from encnet_jax.train.step import parallel_step
from encnet_jax.train.stops import Deadline, Presence
from encnet_jax.train.timekeeper import TimeKeeper
from encnet_jax.train.tracing import StepTracer
from encnet_jax.train.validate import Validator


class Run(NamedTuple):
    """The objects that the training loop uses.

    Attributes:
        parts: model, optimiser, training step and initial state.
        scalars: hook that fetches and logs metrics.
        saver: hook that saves checkpoints and evaluates them.
        logbook: reports progress, scalars and images.
        stop: StopRequest of the run, which is checked after each step.
        account: time account of this process.
    """

    parts: Assembled
    scalars: Scalars
    saver: Saver
    logbook: Logbook
    stop: StopRequest
    account: TimeAccount


def train(
    config: ConfigDict,
    workdir: str,
    account: TimeAccount | None = None,
    *,
    extend: int = 0,
) -> None:
    """Trains a network and saves checkpoints in WORKDIR.

    Training resumes from the newest checkpoint in WORKDIR, if there is one. Training
    ends after the last step, or earlier: at the time limit (train.max_minutes), after a
    signal, or when the validation score stops improving (train.patience).

    Args:
        config: result of `config.load`, with overrides applied.
        workdir: folder for checkpoints, configuration and TensorBoard scalars.
        account: time account of this process; None creates an account.
        extend: number of steps to add to a saved run; see config.lengthened.

    Raises:
        UserError: the data set is missing; a configuration value is invalid; processes
            differ in configuration or data; the workdir is in use, was deleted, or
            contains a run with another configuration; or a validation failed.
        NotFiniteError: the loss became NaN or infinite.
    """
    account = account or TimeAccount()
    config, dataset, sizes = distributed.together(lambda: prepared(config))
    agreement.check(config_lib.flatten(config) | sizes)
    with (
        workdir_lib.locked(workdir) as gone,
        StopRequest() as stop,
        Checkpointer(workdir, config.train.keep_checkpoints) as checkpointer,
    ):
        saved = checkpointer.saved_config()
        if extend and saved is None:
            raise UserError(
                f"--extend {extend}: {workdir} contains no checkpoint to continue from;"
                " set --workdir to the folder of a run, or omit --extend"
            )
        config = _resolved(config, dataset, saved, extend)
        workdir_lib.claim(workdir, config, saved, extends=bool(extend))
        parts, weights = set_up(config, dataset.info.num_classes, checkpointer)
        start_step = int(parts.state.step)
        if jax.process_index() == 0:
            count = parts.num_parameters()
            print("\n".join(opening.lines(config, sizes, count, weights, start_step)))
            print("\n".join(config_lib.differences(config)), flush=True)
        with Logbook(workdir, config.train, start_step) as logbook:
            scalars = Scalars(logbook, parts.learning_rate, config.train, start_step)
            validator = Validator(
                parts.task,
                dataset,
                logbook,
                stop,
                train=config.train,
                max_images=config.eval.max_images,
            )
            saver = Saver(
                config.train,
                checkpointer,
                validator if config.data.val_split else None,
                scalars,
                logbook,
                account,
                stop,
                config_to_save=config,
            )
            run = Run(parts, scalars, saver, logbook, stop, account)
            presence = Presence(workdir, gone, stop)
            _train(run, presence, dataset, config.train, config.seed, config.profile)
        presence.check()


def _resolved(
    config: Config, dataset: Dataset, saved: Config | None, extend: int
) -> Config:
    """Resolves the fields that depend on the data set, and adds `extend` steps.

    Args:
        config: configuration, resolved except for fields that depend on the data set.
        dataset: the open data set.
        saved: configuration of the checkpoint from which the run resumes, or None.
        extend: number of steps to add, or 0.
    """
    found = facts(dataset, config.loss, saved and saved.loss)
    if config.train.eval_every_epochs is None:
        pixels = scored_pixels(dataset, config.eval, config.train.val_protocol)
        found = found._replace(scored_pixels=pixels)
    config = config_lib.resolve(config, found)
    return config_lib.lengthened(config, extend) if extend else config


def set_up(
    config: Config, num_classes: int, checkpointer: Checkpointer
) -> tuple[Assembled, str]:
    """Restores the newest checkpoint of a run, or initialises a new run.

    Args:
        config: resolved configuration.
        num_classes: number of classes.
        checkpointer: the run's checkpointer. If a checkpoint exists, init_from is not
            used.

    Returns:
        (Assembled, text). The state of the Assembled is replicated on all devices. The
        text describes the origin of the weights; '' for randomly initialised weights.
    """
    if checkpointer.latest_step() is not None:
        # Only shapes: initialising weights that are replaced next would cost a
        # compilation.
        parts = assemble(config, num_classes, only_shapes=True)
        state = checkpointer.restore(parts.state)
        print(f"resuming at step {int(state.step)} of {config.train.total_steps}")
        return parts._replace(state=state), f"step {int(state.step)} of this run"
    weights = ""

    def start(variables: dict) -> dict:
        nonlocal weights
        initialised, lines = initialise(
            variables,
            config.init_from,
            config.init_skip,
            task=config.task,
            model=config.model,
        )
        weights = opening.weights_line(config.init_from, variables, initialised)
        if jax.process_index() == 0:
            print("\n".join(lines))
        return initialised

    parts = assemble(config, num_classes, start=start if config.init_from else None)
    return parts._replace(state=parallel.replicate(parts.state)), weights


def _train(
    run: Run,
    presence: Presence,
    dataset: Dataset,
    train: TrainConfig,
    seed: int,
    profile: bool,
) -> None:
    """Opens the training batches, runs all steps, and reports how the time was spent.

    Args:
        run: the objects of the run.
        presence: hook that stops the run if the workdir was deleted.
        dataset: the open data set, whose split data.train_split is used.
        train: section `train` of the resolved configuration.
        seed: the run's seed.
        profile: whether to profile a few steps.
    """
    start_step, logbook, account = int(run.parts.state.step), run.logbook, run.account
    batches = dataset.train_batches(
        dataset.data.train_split,
        batch_size=train.batch_size,
        seed=seed,
        start_step=start_step,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    validates = bool(dataset.data.val_split)
    timekeeper = TimeKeeper(
        account, logbook, start_step=start_step, every=train.log_every_steps
    )
    with (
        contextlib.closing(cast(Generator, batches)),  # Ends the reading threads.
        StepTracer(profile, logbook.workdir, logbook) as tracer,
    ):
        hooks = (
            logbook.step_done,
            run.scalars,
            tracer,
            Deadline(train.max_minutes, run.stop),
            presence,
            run.saver,
            opening.Remaining(account, logbook, train, start_step, validates=validates),
            timekeeper,
        )
        fed = timed_input(parallel.feed(batches), account, run.scalars.device_is_done)
        _loop(run, fed, hooks, train.total_steps)
    run.saver.close()
    timekeeper.report()
    run.saver.check()


def _loop(run: Run, batches: Iterable[dict], hooks: tuple, total_steps: int) -> None:
    """Runs all steps, or fewer if a stop is requested.

    After each step, every hook is called in order as hook(step, state, metrics). The
    host waits for the device only in hooks.
    """
    state, logbook = run.parts.state, run.logbook
    step_fn = parallel_step(run.parts.step)
    part = "compiling"  # The first call compiles.
    for step, batch in enumerate(batches, start=int(state.step) + 1):
        if step > total_steps:
            break
        with (
            jax.profiler.StepTraceAnnotation("train", step_num=step),
            run.account.doing(part),
        ):
            state, metrics = step_fn(state, batch)
        part = "steps"
        for hook in hooks:
            hook(step, state, metrics)
        if run.stop.agreed():
            run.saver.save(step, state)
            logbook.finish(
                f"stopped at step {step} by {run.stop.reason}; the same command resumes"
                " the run"
            )
            return
    logbook.finish(f"trained {total_steps} steps; checkpoints in {logbook.workdir}")
