"""What the processes of tests/test_distributed.py do: joined_tasks.py --task=A,B.

Tasks before the last may fail; their exit status is printed.
"""

import itertools
import os
import pathlib
import resource
import signal
import sys
import time
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import multihost_utils

from encnet_jax import cli, config
from encnet_jax.checkpoints.checkpointer import Checkpointer
from encnet_jax.cli import process
from encnet_jax.errors import UserError
from encnet_jax.pods import agreement, distributed, parallel
from encnet_jax.pods import workdir as workdir_lib
from encnet_jax.pods.signals import Stopped, StopRequest
from encnet_jax.train.assemble import assemble
from encnet_jax.train.step import parallel_step
from encnet_jax.train_state import TrainState


def make_state(step: int = 5, fill: float | None = None) -> TrainState:
    """A state of random numbers, which depend on the step, or of one number."""

    def draw(index, shape):
        if fill is not None:
            return jnp.full(shape, fill, jnp.float32)
        random = np.random.default_rng([step, index])
        return jnp.asarray(random.standard_normal(shape, np.float32))

    params = {"conv": {"kernel": draw(0, (3, 3, 8, 17)), "bias": draw(1, (17,))}}
    statistics = {"norm": {"mean": draw(2, (17,)), "var": draw(3, (17,))}}
    variables = {"params": params, "batch_stats": statistics}
    state = TrainState.create(variables, optax.trace(0.9), ema=True)
    return parallel.replicate(state.replace(step=jnp.asarray(step, jnp.int32)))


def settings():
    """Any resolved configuration."""
    return config.resolve(config.load("configs/quickstart.py:smoke"))


def save(folder):
    """Saves a state from all devices, in a folder named after the processes."""
    folder = f"{folder}/of_{jax.process_count()}"
    with Checkpointer(folder, keep=1) as checkpointer:
        checkpointer.save(make_state(), settings(), score=None)


def restore(folder):
    """Restores the state of 3 - process_count processes onto all devices.

    Each process writes what it got.
    """
    folder = f"{folder}/of_{3 - jax.process_count()}"
    with Checkpointer(folder, keep=1) as checkpointer:
        state = checkpointer.restore(make_state(fill=0.0))
    assert all(
        len(x.devices()) == jax.local_device_count() for x in jax.tree.leaves(state)
    )
    arrays = {str(i): x for i, x in enumerate(jax.tree.leaves(state))}
    np.savez(f"{folder}/restored_{jax.process_index()}.npz", **arrays)


def forms(folder):
    """Runs two training steps in both forms, and compares all bits."""
    chosen = config.load("configs/quickstart.py:smoke,fcn")
    chosen.model.head_channels, chosen.data.crop_size = 16, 32
    chosen.train.batch_size = jax.device_count()
    parts = assemble(config.resolve(chosen), 6)
    start = jax.device_get(parts.state)
    rng = np.random.default_rng(jax.process_index())
    shape = (jax.local_device_count(), 32, 32)
    batch = {
        "image": rng.integers(0, 256, (*shape, 3), np.uint8),
        "label": rng.integers(0, 6, shape, np.uint8),
    }
    bits = []
    for form in ("pmap", "shard_map"):
        os.environ[parallel.FORM] = form
        step, state = parallel_step(parts.step), parallel.replicate(start)
        for _ in range(2):
            state, metrics = step(state, parallel.shard(batch))
        arrays = jax.tree.leaves((state, metrics))
        # With shard_map they belong to all processes.
        assert {x.is_fully_addressable for x in arrays} == {form == "pmap"}
        bits.append([np.asarray(x).tobytes() for x in arrays])
    changed = sum(ours != theirs for ours, theirs in zip(*bits, strict=True))
    print(f"{changed} of {len(arrays)} arrays differ after step {int(state.step)}")


def stop(folder):
    """Works, then evaluates unequal shares until told to stop, and says when."""
    with StopRequest() as request:
        pathlib.Path(folder, f"ready_{jax.process_index()}").touch()
        share = 3 + jax.process_index()
        for step in itertools.count():
            multihost_utils.sync_global_devices("step")
            try:
                for _ in request.watch(range(share), times=5):
                    time.sleep(0.02)
            except Stopped:
                pass
            if request.agreed():
                print(f"stopped after step {step} by {request.reason}")
                return


def separate(folder):
    """Uses a folder of its own, as on a host without shared storage."""
    with workdir_lib.locked(f"{folder}/{jax.process_index()}"):
        print("went on")


def fail(folder):
    """Fails in one process alone."""

    def action():
        if jax.process_index() == 1:
            raise UserError("no such image")

    distributed.together(action)


def lack(folder):
    """Finds no file in one process alone."""
    distributed.together(
        lambda: jax.process_index() == 1 and pathlib.Path(folder, "none").read_text()
    )


def differ(folder):
    """Agrees where only places differ, then finds another seed in process 1."""
    facts = {"data.data_dir": "d" * (1 + jax.process_index()), "crop": (1, 2)}
    agreement.check(facts)
    print("places may differ")
    agreement.check(facts | {"seed": 10 ** jax.process_index()})


def fill_disk(folder):
    """Saves twice; before the second time no file may grow any more."""
    with Checkpointer(folder, keep=1) as checkpointer:
        checkpointer.save(make_state(1), settings(), score=None)
    with Checkpointer(folder, keep=1) as checkpointer:
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, resource.RLIM_INFINITY))
        checkpointer.save(make_state(2), settings(), score=None)


def die(folder):
    """Ends process 1 as a lost machine would."""
    for step in itertools.count():
        multihost_utils.sync_global_devices("step")
        if step == 3 and jax.process_index() == 1:
            os.kill(os.getpid(), signal.SIGKILL)


def main(argv):
    line = cli.CommandLine(argv, __doc__)
    line.processes()
    line.string("task", "")
    line.string("folder", "")
    values = line.parse()
    cli.join_processes(values)
    tasks = values.task.split(",")
    for task in tasks[:-1]:
        # As cli.run ends a process, except that the process continues.
        with mock.patch.object(process, "_leave"):
            status = cli.run(lambda _, task=task: globals()[task](values.folder), [])
        print(f"end of {task}: {status}", flush=True)
    globals()[tasks[-1]](values.folder)


if __name__ == "__main__":
    sys.exit(cli.run(main, sys.argv))
