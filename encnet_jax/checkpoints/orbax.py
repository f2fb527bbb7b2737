"""The only module that imports Orbax: reading and writing of checkpoints.

Checkpoints are read with Orbax's v1 interface, which becomes its top level in version
1.0 and reads the files of both interfaces. They are written with the older interface,
because v1 cannot replace the barrier at which processes wait for each other after a
write. With Orbax's own barrier, a failed write of one process blocks all processes for
twenty minutes.
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
    """Reads items of a complete checkpoint; all processes must make the call.

    Args:
        folder: folder of one step.
        layouts: for each name a tree of `jax.ShapeDtypeStruct` with a sharding, or of
            NumPy arrays, of which only shapes and types are used. None for a name that
            `save` got in `texts`.

    Returns:
        For each name the tree of arrays, or the contents of the text.

    Raises:
        UserError: the files are not those of a checkpoint with these items.
    """
    with _explained(folder):
        return v1.load_checkpointables(folder, layouts)


def layout_in_memory(folder: epath.Path, name: str) -> dict:
    """Returns the layout of an item's arrays as NumPy arrays, for `load`.

    Raises:
        UserError: the files are not those of a checkpoint with this item.
    """
    with _explained(folder):
        stored = v1.checkpointables_metadata(folder).metadata[name]
        return jax.tree.map(
            lambda x: np.broadcast_to(np.zeros((), x.dtype), x.shape), stored
        )


@contextlib.contextmanager
def _explained(folder: epath.Path) -> Iterator[None]:
    """Converts errors about the contents of files, which are of many types."""
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
            f"{folder}: cannot be read ({reason(cause)}); restore it from a copy, or"
            " choose another --checkpoint"
        ) from error


class Writer:
    """Writes checkpoints, in threads; all processes must make every call."""

    def __init__(
        self, folder: epath.Path, seal: Callable[[epath.Path], None], **options
    ):
        """Opens a folder of checkpoints, which the first save creates.

        Args:
            folder: absolute, or in an object store.
            seal: called with the folder of a complete checkpoint before it is renamed
                to its final name.
            options: other fields of CheckpointManagerOptions.
        """

        def seal_unfinished() -> None:
            # Usually one; more if the files of a killed save could not be removed.
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
            trees: for each name a tree of arrays.
            texts: for each name the contents of a JSON file.
        """
        items: dict[str, Any] = {k: ocp.args.StandardSave(v) for k, v in trees.items()}
        items |= {name: ocp.args.JsonSave(text) for name, text in texts.items()}
        self._manager.save(step, args=ocp.args.Composite(**items))

    def wait(self) -> None:
        """Waits for the write in progress.

        Raises:
            Exception: the write failed, with an error of any type. `steps` does not
                contain its step.
        """
        try:
            self._manager.wait_until_finished()
        except BaseException:
            self._manager.reload()  # It already lists the step.
            raise

    def delete(self, step: int) -> None:
        """Removes a checkpoint."""
        self._manager.delete(step)

    def close(self) -> None:
        """Waits for the write in progress, and ends its threads."""
        self._manager.close()


def unfinished(folder: epath.Path) -> Iterator[epath.Path]:
    """Yields the folders of unfinished checkpoints in a folder that exists."""
    yield from (path for path in folder.iterdir() if is_unfinished(path))


class _Manager(ocp.CheckpointManager):
    def reached_preemption(self, step: int) -> bool:
        """Returns False, because signals.StopRequest handles preemption.

        JAX's preemption service supports one counter of steps. With a second one, the
        processes would never agree on a step.
        """
        return False

    def metrics(self, step: int) -> None:
        """Returns None, because scores have their own files; see checkpoints.scores.

        Orbax reads the metrics of all steps when it opens a folder, so that one damaged
        file would make the whole run unusable.
        """
        return None


def _wait_for_others(*, key: str, timeout_ms: int) -> None:
    """Waits for all processes, unless the write of this one has failed.

    Orbax waits at this barrier before it raises the error, while the other processes
    wait for this write at another barrier: all would wait for twenty minutes.
    """
    if sys.exc_info()[1] is None:
        ocp.multihost.get_barrier_sync_fn()(key=key, timeout_ms=timeout_ms)
