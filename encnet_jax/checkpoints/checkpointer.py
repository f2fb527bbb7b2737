"""Saves and restores the state of a run.

A checkpoint is a folder WORKDIR/checkpoints/STEP, which Orbax writes asynchronously and
atomically. Each checkpoint contains the items `variables` (parameters and batch
statistics), `training` (step and optimiser state) and `config`, and checksums of all
files.
"""

import contextlib
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from types import SimpleNamespace

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from encnet_jax import config as config_lib
from encnet_jax.checkpoints import integrity, location, orbax, scores
from encnet_jax.errors import DISK_FULL, UnsavedError, UserError
from encnet_jax.pods import distributed, parallel
from encnet_jax.train_state import TrainState

_STATUS_CODE = re.compile(r"[A-Z]+(_[A-Z]+)*: ")


class Checkpointer:
    """Saves and restores the state of one run; all processes must call every method.

    When a `with` block ends, the checkpointer waits for unfinished writes.
    """

    def __init__(self, workdir: str, keep: int):
        """Opens WORKDIR/checkpoints, which the first save creates.

        Damaged checkpoints newer than the newest undamaged checkpoint are renamed.

        Args:
            workdir: folder of the run, local or in an object store.
            keep: number of newest checkpoints to keep; the checkpoint with the best
                score is also kept.

        Raises:
            UserError: there are checkpoints, but all are damaged.
        """
        folder = location.folder_of(workdir)
        if jax.process_index() == 0:
            distributed.together(lambda: integrity.set_aside_damaged(folder))
        else:
            distributed.together(lambda: None)
        self._keep, self._scores = keep, scores.read_all(folder)
        self._identity = _identity(folder)
        self._writing: int | None = None  # Step whose files are unchecked.
        self._writer = orbax.Writer(
            folder,
            integrity.seal,
            preservation_policy=self,
            cleanup_tmp_directories=True,  # Incomplete files of a killed run.
        )

    def __enter__(self) -> "Checkpointer":
        self._unraisable = sys.unraisablehook
        sys.unraisablehook = self._report_unraisable
        return self

    def __exit__(self, kind, *exception) -> None:
        # Several processes write together: if one died, the write would never end.
        if kind is None or jax.process_count() == 1 or issubclass(kind, UserError):
            self.close()
        # The threads of a failed write continue for a while.
        if kind is None or not issubclass(kind, UnsavedError):
            sys.unraisablehook = self._unraisable

    def _report_unraisable(self, unraisable) -> None:
        """Suppresses the traceback that each thread of a failed write would print.

        The first thread that fails closes the event loop, and then all others fail.
        """
        if str(unraisable.exc_value) != "Event loop is closed":
            self._unraisable(unraisable)

    def latest_step(self) -> int | None:
        """Returns the newest undamaged checkpoint's step, or None if there is none."""
        return max(self._writer.steps(), default=None)

    def best_since(self) -> int:
        """Returns the step at which the best score so far was first reached."""
        best = max(self._scores.values())
        return min(step for step, score in self._scores.items() if score == best)

    def should_preserve(self, checkpoints: Sequence, *, context) -> list[bool]:
        """Returns one bool for each checkpoint: whether the checkpoint is kept.

        The newest checkpoints and the best checkpoint are kept. Orbax calls this method
        at every save.
        """
        steps = [checkpoint.step for checkpoint in checkpoints]
        best = scores.best_step(
            {step: score for step, score in self._scores.items() if step in steps}
        )
        return [step in steps[-self._keep :] or step == best for step in steps]

    def save(self, state: TrainState, config, score: float | None = None) -> None:
        """Starts to write a checkpoint in the background.

        Does nothing if the newest checkpoint has this step.

        Args:
            state: replicated state after `state.step` updates.
            config: the resolved configuration.
            score: validation score of the state, in [0, 1]; None if not known yet. With
                a score, the method waits for the write.

        Raises:
            UnsavedError: this or the previous write failed.
        """
        step = int(state.step)
        if self.latest_step() == step:
            return
        # With several processes, Orbax rejects arrays that only one process has.
        state = parallel.replaced(state, _everywhere())
        with self._failure_named():
            missing = self.wait()
            if missing:  # This save may succeed in a new folder.
                print(f"warning: {missing}", file=sys.stderr)
            self._writing = step
            trees = {"variables": _variables(state), "training": _training(state)}
            texts = {"config": json.loads(config_lib.to_json(config))}
            self._writer.save(step, trees, texts)
        self._identity = self._identity or _identity(self._writer.folder)
        if score is not None:
            self.score(step, score)

    def score(self, step: int, score: float) -> None:
        """Waits until the newest checkpoint is written, and then writes the score.

        If the score is the best so far, the previously best checkpoint may be deleted.

        Args:
            step: step of the newest checkpoint.
            score: score in [0, 1]; larger is better.

        Raises:
            UnsavedError: the checkpoint or the score could not be written.
        """
        with self._failure_named():
            missing = self.wait()
            if missing:
                raise UnsavedError(missing)
            if jax.process_index() == 0:
                scores.write(self._writer.folder, step, float(score))
            self._scores[step] = float(score)
            # Delete the previous best now, not at the next save.
            steps = [SimpleNamespace(step=x) for x in self._writer.steps()]
            kept = self.should_preserve(steps, context=None)
            for checkpoint, keep in zip(steps, kept, strict=True):
                if not keep:
                    self._writer.delete(checkpoint.step)

    def wait(self) -> str | None:
        """Waits for the write in progress, and checks that the written files exist.

        Returns:
            An error message if files are missing, otherwise None. Only process 0 checks
            the files.

        Raises:
            UnsavedError: the write failed.
        """
        # Cleared before waiting, so that a failed write is reported once, with its
        # reason.
        step, self._writing = self._writing, None
        with self._failure_named():
            self._writer.wait()
        if step is None or jax.process_index() != 0:
            return None
        folder = self._writer.folder / str(step)
        try:
            missing = integrity.find_missing(folder)
        except UserError as error:  # Permissions have changed.
            missing = str(error)
        if missing is None:
            return None
        return (
            f"the checkpoint of step {step} was written, but {folder} is incomplete"
            f" ({missing}): the folder was moved, removed or changed meanwhile; restore"
            " it, then start the same command again"
        )

    def restore(self, state: TrainState) -> TrainState:
        """Returns the state of the newest checkpoint, replicated on the local devices.

        Args:
            state: a state with the structure, shapes and dtypes of the checkpoint; the
                leaves may be jax.ShapeDtypeStruct.
        """
        layout = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=_everywhere()),
            state,
        )
        restored = orbax.load(
            self._writer.folder / str(self.latest_step()),
            {"variables": _variables(layout), "training": _training(layout)},
        )
        state = TrainState(**restored["variables"], **restored["training"])
        return parallel.replaced(state, parallel.replicated())

    def saved_config(self) -> ConfigDict | None:
        """Returns the newest checkpoint's configuration; None without checkpoints.

        Fields that were added to the package after the checkpoint was saved have their
        default values.
        """
        step = self.latest_step()
        if step is None:
            return None
        items = orbax.load(self._writer.folder / str(step), {"config": None})
        return config_lib.completed(ConfigDict(items["config"]).lock())

    def close(self) -> None:
        """Waits for writes in progress, and ends the threads that write.

        Raises:
            UnsavedError: a write failed.
        """
        missing = self.wait()
        with self._failure_named():
            self._writer.close()
        if missing:
            raise UnsavedError(missing)

    @contextlib.contextmanager
    def _failure_named(self) -> Iterator[None]:
        try:
            yield
        except UserError:
            raise
        except Exception as error:  # Orbax and TensorStore raise many types.
            folder = self._writer.folder
            reason = _reason(error)
            if reason is None and self._identity not in (None, _identity(folder)):
                reason = "failed (the folder was moved or removed meanwhile)"
            if reason is None:
                raise
            kept = _newest_whole(folder)
            raise UnsavedError(
                f"writing a checkpoint to {folder} {reason}; newest complete"
                f" checkpoint: {kept}. Free some space, or check that the folder is"
                " writable; the same command resumes the run"
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
    """Returns the sharding that replicates arrays on all devices of all processes."""
    return NamedSharding(Mesh(np.array(jax.devices()), ("device",)), PartitionSpec())


def _reason(error: Exception) -> str | None:
    """Returns why writing to a folder failed, or None if the error has another cause.

    TensorStore raises a ValueError whose text begins with a status code, for example
    NOT_FOUND, and contains the message of the operating system or the object store.
    """
    text = " ".join(str(error).split())
    if any(os.strerror(number) in text for number in DISK_FULL):
        return "failed (no space)"
    stored = isinstance(error, ValueError) and _STATUS_CODE.match(text)
    if isinstance(error, OSError) or stored or "tensorstore" in text:
        return f"failed ({type(error).__name__}: {text[:200]})"
    return None


def _identity(folder) -> tuple[int, int] | None:
    """Returns (device, inode) of a folder; None if the folder is absent or remote."""
    try:
        status = os.stat(folder)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _newest_whole(folder) -> str:
    try:
        step, _ = integrity.newest_whole(folder)
    except Exception as error:  # Each object store has its own errors.
        return f"unknown ({type(error).__name__})"
    return "none" if step is None else f"step {step}"
