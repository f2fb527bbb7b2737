"""Orbax's manager of a run's checkpoints, set up our way."""

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
    storage.check_backslash(path)
    return path.resolve() / FOLDER


def open_manager(
    workdir: str, item_handlers: dict | None = None, **options
) -> ocp.CheckpointManager:
    """Opens WORKDIR/checkpoints; what is saved is sealed with checksums.

    Args:
        workdir: absolute or relative path, or gs://.
        item_handlers: by item name; None lets the first save or restore decide.
        options: further ones of CheckpointManagerOptions.
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
            f"no checkpoints in {workdir}: train first, or name its --workdir"
        )


@contextlib.contextmanager
def reader(workdir: str) -> Iterator[ocp.CheckpointManager]:
    """Opens checkpoints for reading `variables` and `config`.

    Raises:
        UserError: there are none.
    """
    check_present(workdir)
    # Without its handlers a manager that has saved nothing knows no item's metadata.
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
    """Keeps back Orbax's warnings that a checkpoint is only read.

    Commands silence its logger for good; in Python it belongs to the user.
    """
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def read_config(manager: ocp.CheckpointManager, step: int) -> ConfigDict:
    """Returns the resolved configuration kept in a checkpoint."""
    restored = manager.restore(
        step, args=ocp.args.Composite(config=ocp.args.JsonRestore())
    )
    return ConfigDict(restored["config"]).lock()


class _Manager(ocp.CheckpointManager):
    def reached_preemption(self, step: int) -> bool:
        """Leaves preemption to signals.StopRequest.

        JAX's service takes questions from one counter only: asked with the step as
        well, its processes would never agree.
        """
        return False

    def metrics(self, step: int) -> None:
        """Returns None: scores are in files of our own, see checkpoints.scores.

        Orbax reads the metrics of all steps when it opens a folder, and one damaged
        file would make the whole run unusable.
        """
        return None


def _wait_for_others(*, key: str, timeout_ms: int) -> None:
    """Waits until all processes are here, unless this one's write has failed.

    Orbax meets the others before it raises the error. They wait at another barrier, for
    this one's write: all would be there for twenty minutes.
    """
    if sys.exc_info()[1] is None:
        ocp.multihost.get_barrier_sync_fn()(key=key, timeout_ms=timeout_ms)


def _seal(folder: epath.Path) -> None:
    """Seals what is under way, all written, before Orbax renames it.

    There is one, unless what a killed save left could not be removed.
    """
    for path in folder.iterdir():
        if ocp.utils.is_tmp_checkpoint(path):
            integrity.seal(path)
