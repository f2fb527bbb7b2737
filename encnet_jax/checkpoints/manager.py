"""Opens the checkpoints of a run with Orbax."""

import contextlib
import logging
import sys
from collections.abc import Iterator

import orbax.checkpoint as ocp
from etils import epath
from ml_collections import ConfigDict

from encnet_jax import storage
from encnet_jax.checkpoints import integrity
from encnet_jax.errors import UserError
from encnet_jax.pods.workdir import FOLDER


def folder_of(workdir: str) -> epath.Path:
    """Returns WORKDIR/checkpoints, absolute: Orbax refuses relative paths."""
    path = epath.Path(workdir)
    if storage.is_remote(path):
        return path / FOLDER
    storage.check_for_tensorstore(path)
    return path.resolve() / FOLDER


def open_manager(
    workdir: str, item_handlers: dict | None = None, **options
) -> ocp.CheckpointManager:
    """Opens WORKDIR/checkpoints; saves add checksums.

    Args:
        workdir: absolute or relative path, or gs://.
        item_handlers: by item name; None: the first save or restore decides.
        options: other fields of CheckpointManagerOptions.
    """
    folder = folder_of(workdir)
    writing = ocp.AsyncOptions(
        post_finalization_callback=lambda: _seal(folder),
        barrier_sync_fn=_wait_for_others,
    )
    return _Manager(
        folder,
        options=ocp.CheckpointManagerOptions(async_options=writing, **options),
        item_handlers=item_handlers,
    )


def check_present(workdir: str) -> None:
    """Raises UserError unless a workdir has a folder of checkpoints."""
    storage.check_reachable(workdir)
    if not folder_of(workdir).exists():
        raise UserError(
            f"no checkpoints in {workdir}: train first, or choose another --workdir"
        )


@contextlib.contextmanager
def reader(workdir: str) -> Iterator[ocp.CheckpointManager]:
    """Opens checkpoints for reading `variables` and `config`.

    Raises:
        UserError: there are none.
    """
    check_present(workdir)
    # Without handlers, a manager that has saved nothing cannot read metadata.
    handlers = {
        "variables": ocp.PyTreeCheckpointHandler(),
        "config": ocp.JsonCheckpointHandler(),
    }
    with _quiet():
        manager = open_manager(workdir, item_handlers=handlers, read_only=True)
        try:
            yield manager
        finally:
            manager.close()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppresses Orbax's warnings about opening checkpoints only for reading.

    Commands disable its logger; a Python caller may use it.
    """
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def read_config(manager: ocp.CheckpointManager, step: int) -> ConfigDict:
    """Returns the configuration saved in a checkpoint."""
    restored = manager.restore(
        step, args=ocp.args.Composite(config=ocp.args.JsonRestore())
    )
    return ConfigDict(restored["config"]).lock()


class _Manager(ocp.CheckpointManager):
    def reached_preemption(self, step: int) -> bool:
        """Returns False: signals.StopRequest handles preemption.

        JAX's service accepts one counter only; asked for steps as well, the processes
        would never agree.
        """
        return False

    def metrics(self, step: int) -> None:
        """Returns None: scores have their own files, see checkpoints.scores.

        Orbax reads the metrics of all steps when it opens a folder, so that one damaged
        file would make the whole run unusable.
        """
        return None


def _wait_for_others(*, key: str, timeout_ms: int) -> None:
    """Waits for all processes, unless the write of this one has failed.

    Orbax waits at this barrier before it raises the error, while the others wait for
    this write at another barrier: all would wait for twenty minutes.
    """
    if sys.exc_info()[1] is None:
        ocp.multihost.get_barrier_sync_fn()(key=key, timeout_ms=timeout_ms)


def _seal(folder: epath.Path) -> None:
    """Adds checksums to a complete checkpoint before Orbax renames it.

    There is one, unless files of a killed save could not be removed.
    """
    for path in folder.iterdir():
        if ocp.utils.is_tmp_checkpoint(path):
            integrity.seal(path)
