"""Ensures that a run's folder is used by one run at a time, with one configuration."""

import contextlib
import errno
import fcntl
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import BinaryIO

import jax
from etils import epath
from ml_collections import ConfigDict

from encnet_jax import config as config_lib
from encnet_jax import storage
from encnet_jax.config import Config
from encnet_jax.errors import UserError
from encnet_jax.pods import agreement, distributed, parallel
from encnet_jax.storage import checks, outputs

FOLDER = "checkpoints"


@contextlib.contextmanager
def locked(workdir: str) -> Iterator[Callable[[], bool]]:
    """Creates and locks the folder of a run, so that no other run writes into it.

    Process 0 locks the folder for all processes. Folders in object stores cannot be
    locked. If this function created the folder and the run ends with a UserError before
    training starts, the folder is removed.

    Yields:
        A function that returns whether the folder or its lock file has been deleted. In
        processes other than 0 and for object stores, the function always returns False.

    Raises:
        UserError: the folder cannot be created, is locked by another run, or is not
            shared by all processes of this run.
    """
    with contextlib.ExitStack() as stack:

        def hold() -> Callable[[], bool]:
            if jax.process_index() != 0:
                return lambda: False
            return stack.enter_context(_held(workdir))

        gone = distributed.together(hold)
        distributed.check_shared(workdir)
        yield gone


@contextlib.contextmanager
def _held(workdir: str) -> Iterator[Callable[[], bool]]:
    if not storage.is_remote(workdir):
        checks.check_for_tensorstore(workdir)
    checks.check_for_merging(workdir)
    checks.check_writable(workdir)
    if storage.is_remote(workdir):
        epath.Path(workdir).mkdir(parents=True, exist_ok=True)
        yield lambda: False
        return
    path = pathlib.Path(workdir)
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"--workdir cannot be created: {storage.describe(error, workdir)}"
        ) from None
    check_ours(workdir)
    with _lock(path) as gone:
        try:
            yield gone
        except UserError:
            # Still under the lock: without it, another run could use the folder now.
            if missing:
                _remove(path, missing)
            raise


def _remove(path: pathlib.Path, made: list[pathlib.Path]) -> None:
    """Removes the folder of a run that failed before training started.

    Args:
        path: the folder; not removed if it contains files that training has written.
        made: folders that were created for the run, innermost first; removed if empty.
    """
    known = {".lock", "config.json", FOLDER}
    with contextlib.suppress(OSError):  # Ignores missing and non-empty folders.
        if not {each.name for each in path.iterdir()} <= known:
            return  # Training had started.
        if (path / FOLDER).exists():
            (path / FOLDER).rmdir()
        for name in (".lock", "config.json"):
            (path / name).unlink(missing_ok=True)
        for folder in made:
            folder.rmdir()


@contextlib.contextmanager
def _lock(path: pathlib.Path) -> Iterator[Callable[[], bool]]:
    with _opened_lock(path / ".lock") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another run is using {path}: wait until that run ends, stop it, or"
                " choose another --workdir"
            ) from None
        yield lambda: not _is_at(file.fileno(), path / ".lock")


def check_ours(workdir: str) -> None:
    """Raises UserError if a run would overwrite a file that no run has written."""
    folder = epath.Path(workdir)
    for name, kind in (
        ("config.json", "configuration of a run"),
        ("time.json", "table of starts"),
        ("scalars.csv", "table of scalars"),
    ):
        outputs.check_replaceable(folder / name, kind, "--workdir")


def _opened_lock(path: pathlib.Path) -> BinaryIO:
    """Opens the lock file without following symbolic links or truncating the file."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        number = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise UserError(
            f"{path} is a symbolic link; expected the lock file of a run: remove the"
            " link, or choose another --workdir"
        ) from None
    file = open(number, "rb+", buffering=0)
    try:
        storage.check_regular(path, os.fstat(number).st_mode)
    except UserError:
        file.close()
        raise
    return file


def _is_at(number: int, path: pathlib.Path) -> bool:
    """Returns whether a path still leads to the open file with descriptor `number`."""
    try:
        return os.path.samestat(os.fstat(number), os.stat(path))
    except OSError as error:  # After a network failure, the file may still exist.
        return error.errno not in (errno.ENOENT, errno.ENOTDIR)


def claim(
    workdir: str,
    config: Config,
    saved: ConfigDict | None = None,
    *,
    extends: bool = False,
) -> None:
    """Checks that a run may use a locked folder, and saves its configuration there.

    The configuration must be the same in all processes and in the newest checkpoint of
    the folder. The batch size must be a multiple of the number of devices.

    Args:
        workdir: a folder that was locked by `locked`.
        config: the resolved configuration.
        saved: configuration of the newest checkpoint; None for a new run.
        extends: whether the run may have more steps than the saved run.

    Raises:
        UserError: a field differs or is invalid; the message states the first such
            field.
    """
    agreement.check(config_lib.flatten(config))
    parallel.check_batch_size(config.train.batch_size, config.train.accumulate)
    parallel.check_norm_group(config.model.norm_group)
    if saved is not None:
        if extends and saved.train.total_steps <= config.train.total_steps:
            saved.train.total_steps = config.train.total_steps
            saved.train.epochs = config.train.epochs
        check_same_config(workdir, saved, config)
    save_config(workdir, config)


def check_same_config(workdir: str, saved: ConfigDict, config: Config) -> None:
    """Checks that a resumed run has the configuration of the saved run.

    Raises:
        UserError: a field differs; the message states the first such field.
    """
    difference = config_lib.first_difference(saved, config)
    if difference:
        raise UserError(
            f"{workdir} contains a run with another configuration: {difference}; choose"
            " another --workdir for a new run; to start the new run from the saved"
            f" weights, add --config.init_from={workdir}"
        )


def save_config(workdir: str, config: Config) -> None:
    """Writes WORKDIR/config.json in process 0, atomically."""
    if jax.process_index() != 0:
        return
    text = config_lib.to_json(config) + "\n"
    path = epath.Path(workdir) / "config.json"
    outputs.write(path, "configuration of a run", text, "--workdir")
