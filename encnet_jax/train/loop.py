"""Training from configuration to checkpoints: set-up, and the loop around the step."""

import contextlib

import jax

from encnet_jax import config as config_lib
from encnet_jax.checkpoints.checkpointer import Checkpointer
from encnet_jax.pods import agreement, distributed, parallel
from encnet_jax.pods import workdir as workdir_lib
from encnet_jax.pods.signals import StopRequest
from encnet_jax.train import initialise
from encnet_jax.train.account import TimeAccount, timed_input
from encnet_jax.train.assemble import Assembled, assemble
from encnet_jax.train.class_weighting import with_class_weights
from encnet_jax.train.logbook import Logbook
from encnet_jax.train.prepared import prepared
from encnet_jax.train.saver import Saver
from encnet_jax.train.scalars import Scalars
from encnet_jax.train.step import parallel_step
from encnet_jax.train.stops import Deadline, Presence
from encnet_jax.train.timekeeper import TimeKeeper
from encnet_jax.train.tracing import StepTracer
from encnet_jax.train.validate import Validator


def train(config, workdir: str, account: TimeAccount | None = None) -> None:
    """Trains until the schedule ends, the time is up, or a signal asks to stop.

    Goes on from WORKDIR's newest checkpoint if there is one.

    Args:
        config: as returned by `config.load`, overrides applied.
        workdir: where checkpoints, configuration and TensorBoard scalars go.
        account: of this process's time; None starts one here.

    Raises:
        UserError: the data set is missing, a value is wrong, the processes were given
            different ones, or the workdir is in use or holds a run with another
            configuration.
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
        resuming = checkpointer.latest_step() is not None
        saved = None
        if resuming:
            saved = config_lib.completed(checkpointer.saved_config())
        config = with_class_weights(config, dataset, saved)
        if saved is not None:
            workdir_lib.check_same_config(workdir, saved, config)
        workdir_lib.save_config(workdir, config)
        if jax.process_index() == 0:
            print("\n".join(config_lib.differences(config)))
        parts = set_up(config, dataset.info.num_classes, checkpointer)
        presence = Presence(workdir, gone, stop)
        _train(parts, dataset, config, checkpointer, stop, account, presence)
        presence.check()


def _train(parts, dataset, config, checkpointer, stop, account, presence) -> None:
    """Makes what happens around the steps, runs them, and reports their time."""
    start_step, workdir = int(parts.state.step), presence.workdir
    batches = dataset.train_batches(
        config.data.train_split,
        batch_size=config.train.batch_size,
        seed=config.seed,
        start_step=start_step,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    with Logbook(workdir, config.train, start_step=start_step) as logbook:
        scalars = Scalars(
            logbook,
            parts.learning_rate,
            every=config.train.log_every_steps,
            start_step=start_step,
        )
        saver = Saver(
            checkpointer,
            Validator(config, dataset, logbook, stop),
            scalars,
            logbook,
            account,
            config=config,
            num_examples=dataset.num_examples(config.data.train_split),
        )
        timekeeper = TimeKeeper(
            account, logbook, start_step=start_step, every=scalars.every
        )
        with (
            contextlib.closing(batches),  # Threads that read must end with the run.
            StepTracer(config.profile, workdir, logbook) as tracer,
        ):
            hooks = (
                logbook.step_done,
                scalars,
                tracer,
                Deadline(config.train.max_minutes, stop),
                presence,
                saver,
                timekeeper,
            )
            fed = timed_input(parallel.feed(batches), account, scalars.device_is_done)
            _loop(parts, fed, config, hooks, saver, logbook, stop, account)
        with account.doing("checkpoints"):
            checkpointer.close()
        timekeeper.report()
        saver.check()


def set_up(config, num_classes: int, checkpointer: Checkpointer) -> Assembled:
    """Returns a run's parts with a replicated state: restored, initialised, or fresh.

    Args:
        config: resolved.
        num_classes: C.
        checkpointer: of the run; its newest state comes before config.init_from.
    """
    resuming = checkpointer.latest_step() is not None

    def start(variables: dict) -> dict:
        variables, lines = initialise.initialise(variables, config)
        print("\n".join(lines))
        return variables

    if resuming:
        # Drawing weights that are replaced at once would cost a compilation.
        parts = assemble(config, num_classes, only_shapes=True)
        state = checkpointer.restore(parts.state)
        print(f"resuming at step {int(state.step)} of {config.train.total_steps}")
        return parts._replace(state=state)
    parts = assemble(config, num_classes, start=start if config.init_from else None)
    return parts._replace(state=parallel.replicate(parts.state))


def _loop(parts, batches, config, hooks, saver, logbook, stop, account) -> None:
    """Runs the steps; the host never waits for the device except in a hook.

    Every hook is called as hook(step, state, metrics), in order, after each step.
    """
    state, total_steps = parts.state, config.train.total_steps
    step_fn = parallel_step(parts.model, parts.tx, parts.task, config)
    part = "compiling"  # In the first call.
    for step, batch in enumerate(batches, start=int(state.step) + 1):
        if step > total_steps:
            break
        with (
            jax.profiler.StepTraceAnnotation("train", step_num=step),
            account.doing(part),
        ):
            state, metrics = step_fn(state, batch)
        part = "steps"
        for hook in hooks:
            hook(step, state, metrics)
        if stop.agreed():
            saver.save(step, state)
            logbook.finish(
                f"stopped by {stop.reason} at step {step}; the same command goes on"
            )
            return
    logbook.finish(f"trained {total_steps} steps; checkpoints in {logbook.workdir}")
