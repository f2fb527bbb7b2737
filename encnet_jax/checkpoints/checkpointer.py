"""Saving a run while it goes on, and going on from what was saved.

A checkpoint has the items `variables` (what evaluation needs), `training` (step and
optimiser state) and `config`, and checksums of their files. All are in
WORKDIR/checkpoints/STEP, which Orbax writes asynchronously and atomically.
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterator

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict
from orbax.checkpoint.checkpoint_managers import (
    AnyPreservationPolicy,
    BestN,
    LatestN,
)

from encnet_jax import config as config_lib
from encnet_jax.checkpoints import integrity
from encnet_jax.checkpoints import manager as manager_lib
from encnet_jax.errors import DISK_FULL, UnsavedError, UserError
from encnet_jax.pods import distributed, parallel
from encnet_jax.train_state import TrainState


class Checkpointer:
    """Saves and restores the state of one run; all processes make every call.

    As a context manager it waits for pending writes when it exits.
    """

    def __init__(self, workdir: str, keep: int):
        """Opens WORKDIR/checkpoints, which the first save makes.

        Args:
            workdir: absolute or relative path, or gs://.
            keep: how many of the newest checkpoints to keep; the best is also kept.

        Raises:
            UserError: checkpoints are there, but none is whole.
        """
        folder = manager_lib.folder_of(workdir)
        if jax.process_index() == 0:
            distributed.together(lambda: integrity.set_aside_damaged(folder))
        else:
            distributed.together(lambda: None)
        newest, best = (
            LatestN(keep),
            BestN(
                get_metric_fn=manager_lib.score,
                n=1,
                keep_checkpoints_without_metrics=False,
            ),
        )
        self._manager = manager_lib.open_manager(
            workdir,
            preservation_policy=AnyPreservationPolicy([newest, best]),
            cleanup_tmp_directories=True,  # What a killed run left half-written.
        )

    def __enter__(self) -> "Checkpointer":
        self._unraisable = sys.unraisablehook
        sys.unraisablehook = self._report_unraisable
        return self

    def __exit__(self, kind, *exception) -> None:
        # Several processes write together: if one died, the write never ends.
        if kind is None or jax.process_count() == 1 or issubclass(kind, UserError):
            self.close()
        # After a failed write its threads go on for a while.
        if kind is None or not issubclass(kind, UnsavedError):
            sys.unraisablehook = self._unraisable

    def _report_unraisable(self, unraisable) -> None:
        """Drops the traceback that each thread of a failed write would print.

        The first thread that fails closes the event loop; the others then find it
        closed.
        """
        if str(unraisable.exc_value) != "Event loop is closed":
            self._unraisable(unraisable)

    def latest_step(self) -> int | None:
        """Returns the newest whole checkpoint's step, or None."""
        return self._manager.latest_step()

    def save(self, state: TrainState, config, score: float | None) -> None:
        """Starts writing a checkpoint; training goes on meanwhile.

        Args:
            state: replicated state after `state.step` updates.
            config: the resolved configuration.
            score: in [0, 1], what "best" compares; None if it was not evaluated.

        Raises:
            UnsavedError: this or the previous write failed.
        """
        step = int(state.step)
        if self._manager.latest_step() == step:
            return
        state = _lay_out(state, _everywhere())
        with self._failure_named():
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    variables=ocp.args.StandardSave(_variables(state)),
                    training=ocp.args.StandardSave(_training(state)),
                    config=ocp.args.JsonSave(json.loads(config_lib.to_json(config))),
                ),
                metrics=None if score is None else {manager_lib.SCORE: float(score)},
            )

    def restore(self, state: TrainState) -> TrainState:
        """Returns the newest checkpoint's state, replicated on the local devices.

        Args:
            state: the structure, shapes and types; no array is needed.
        """
        wanted = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=_everywhere()),
            state,
        )
        restored = self._manager.restore(
            self._manager.latest_step(),
            args=ocp.args.Composite(
                variables=ocp.args.StandardRestore(_variables(wanted)),
                training=ocp.args.StandardRestore(_training(wanted)),
            ),
        )
        state = TrainState(**restored["variables"], **restored["training"])
        return _lay_out(state, parallel.replicated())

    def saved_config(self) -> ConfigDict:
        """Returns the configuration kept in the newest checkpoint."""
        return manager_lib.read_config(self._manager, self._manager.latest_step())

    def best_score(self) -> float | None:
        """Returns the best score among the checkpoints kept, or None."""
        step = self._manager.best_step()
        metrics = None if step is None else self._manager.metrics(step)
        return None if not metrics else metrics[manager_lib.SCORE]

    def close(self) -> None:
        """Waits for writes under way, and ends what they run in.

        Raises:
            UnsavedError: one failed.
        """
        with self._failure_named():
            self._manager.close()

    @contextlib.contextmanager
    def _failure_named(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            reason = _reason(error)
            if reason is None:
                raise
            folder = self._manager.directory
            kept = _newest_whole(folder)
            raise UnsavedError(
                f"{reason} to write a checkpoint to {folder}; the newest whole one is"
                f" {kept}. Free some space, or see to the folder and your rights to it;"
                " the same command goes on"
            ) from error


def _variables(state: TrainState) -> dict:
    return {
        "params": state.params,
        "batch_stats": state.batch_stats,
        "ema_params": state.ema_params,
    }


def _training(state: TrainState) -> dict:
    return {"step": state.step, "opt_state": state.opt_state}


def _everywhere() -> NamedSharding:
    """Replicated on all devices of all processes."""
    return NamedSharding(Mesh(np.array(jax.devices()), ("device",)), PartitionSpec())


def _lay_out(state: TrainState, sharding: NamedSharding) -> TrainState:
    """Names the same buffers under another replicated sharding.

    pmap's results belong to one process, which Orbax refuses where there are several.
    """

    def convert(x):
        buffers = [shard.data for shard in x.addressable_shards]
        return jax.make_array_from_single_device_arrays(x.shape, sharding, buffers)

    return jax.tree.map(convert, state)


def _reason(error: Exception) -> str | None:
    """Says what a folder lacks that could not be written to; None: it is not its fault.

    TensorStore raises ValueError with the system's or the object store's message.
    """
    text = " ".join(str(error).split())
    if any(os.strerror(number) in text for number in DISK_FULL):
        return "no space"
    if isinstance(error, OSError) or "tensorstore" in text:
        return f"no way ({type(error).__name__}: {text[:200]})"
    return None


def _newest_whole(folder) -> str:
    try:
        step, _ = integrity.newest_whole(folder)
    except Exception as error:  # Every object store has errors of its own.
        return f"not to be seen ({type(error).__name__})"
    return "none" if step is None else f"step {step}"
