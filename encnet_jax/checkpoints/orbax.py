"""Reads and writes checkpoints; the only module that imports Orbax.

Checkpoints are read with Orbax's v1 interface, which reads the files of both interfaces
and becomes the default interface in Orbax 1.0. Checkpoints are written with the older
interface, because only the older interface lets callers replace the barrier at which
processes wait for each other after a write. With Orbax's own barrier, a failed write of
one process blocks all processes for twenty minutes.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint import v1

from encnet_jax import storage
from encnet_jax.errors import UserError, is_out_of_memory, reason

# In object stores an unfinished checkpoint already has its final name.
is_unfinished = ocp.utils.is_tmp_checkpoint


def load(folder: epath.Path, layouts: dict) -> dict:
    """Reads items of a complete checkpoint; all processes must call this function.

    Args:
        folder: folder of the checkpoint.
        layouts: {name of an item to read: layout}. For an item of arrays, the layout is
            a tree of `jax.ShapeDtypeStruct` with shardings, or a tree of NumPy arrays,
            of which only shapes and dtypes are used. For a JSON item, the layout is
            None.

    Returns:
        {name of the item: tree of arrays, or content of the JSON file}.

    Raises:
        UserError: the folder is not a readable checkpoint with these items.
    """
    with _explained(folder):
        return v1.load_checkpointables(folder, layouts)


def layout_in_memory(folder: epath.Path, name: str) -> dict:
    """Returns a layout with which `load` reads an item's arrays as NumPy arrays.

    Args:
        folder: folder of the checkpoint.
        name: name of the item.

    Returns:
        Tree of NumPy arrays that have the stored shapes and dtypes but use no memory.

    Raises:
        UserError: the folder is not a readable checkpoint with this item.
    """
    with _explained(folder):
        stored = v1.checkpointables_metadata(folder).metadata[name]
        return jax.tree.map(
            lambda x: np.broadcast_to(np.zeros((), x.dtype), x.shape), stored
        )


@contextlib.contextmanager
def _explained(folder: epath.Path) -> Iterator[None]:
    """Converts Orbax's many types of errors for damaged files to UserError."""
    try:
        yield
    except (UserError, OSError):
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        if storage.is_remote(folder) and storage.is_of_store(error):
            raise
        cause: BaseException = error  # Orbax wraps the error that names the reason.
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise UserError(
            f"the checkpoint {folder} cannot be read ({reason(cause)}); restore it from"
            " a copy, or choose another --checkpoint"
        ) from error


class Writer:
    """Writes checkpoints in the background; all processes must call every method."""

    def __init__(
        self, folder: epath.Path, seal: Callable[[epath.Path], None], **options
    ):
        """Opens a folder of checkpoints, which the first save creates.

        Args:
            folder: an absolute path, or a path in an object store.
            seal: function that is called with the folder of a complete checkpoint,
                before the folder is renamed to its final name.
            options: further fields of Orbax's CheckpointManagerOptions.
        """

        def seal_unfinished() -> None:
            # Usually one folder; more if files of a killed save could not be removed.
            for path in unfinished(folder):
                seal(path)

        writing = ocp.AsyncOptions(
            post_finalization_callback=seal_unfinished, barrier_sync_fn=_wait_for_others
        )
        options = {"async_options": writing, **options}
        self.folder = folder
        self._manager = _Manager(
            folder, options=ocp.CheckpointManagerOptions(**options)
        )

    def steps(self) -> list[int]:
        """Returns the steps of all checkpoints, in ascending order."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, trees: dict, texts: dict) -> None:
        """Starts to write a checkpoint.

        Args:
            step: step of the checkpoint.
            trees: {name of an item: tree of arrays}.
            texts: {name of an item: value to write to a JSON file}.
        """
        items: dict[str, Any] = {k: ocp.args.StandardSave(v) for k, v in trees.items()}
        items |= {name: ocp.args.JsonSave(text) for name, text in texts.items()}
        self._manager.save(step, args=ocp.args.Composite(**items))

    def wait(self) -> None:
        """Waits for the write in progress.

        Raises:
            Exception: the write failed; the error may have any type. Afterwards,
                `steps` does not return the failed step.
        """
        try:
            self._manager.wait_until_finished()
        except BaseException:
            self._manager.reload()  # The manager already lists the failed step.
            raise

    def delete(self, step: int) -> None:
        """Deletes the checkpoint of a step."""
        self._manager.delete(step)

    def close(self) -> None:
        """Waits for the write in progress, and ends the threads that write."""
        self._manager.close()


def unfinished(folder: epath.Path) -> Iterator[epath.Path]:
    """Yields the folders of unfinished checkpoints in an existing folder."""
    yield from (path for path in folder.iterdir() if is_unfinished(path))


class _Manager(ocp.CheckpointManager):
    def reached_preemption(self, step: int) -> bool:
        """Returns False, because signals.StopRequest handles preemption.

        JAX's preemption service supports a single step counter, which StopRequest uses.
        If Orbax counted steps too, the processes would never agree on a step.
        """
        return False

    def metrics(self, step: int) -> None:
        """Returns None, because scores have their own files; see checkpoints.scores.

        When Orbax opens a folder, it reads the metrics of all steps. One damaged file
        of metrics would therefore make the whole run unusable.
        """
        return None


def _wait_for_others(*, key: str, timeout_ms: int) -> None:
    """Waits for all processes, unless this process has failed to write.

    Orbax calls this barrier before it raises the error of a failed write. By then, the
    other processes already wait at another barrier, so waiting here would block all
    processes for twenty minutes.
    """
    if sys.exc_info()[1] is None:
        ocp.multihost.get_barrier_sync_fn()(key=key, timeout_ms=timeout_ms)
