"""The folder of a run: one run at a time, one configuration for good."""

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from typing import BinaryIO

import jax
from etils import epath

from encnet_jax import config as config_lib
from encnet_jax import storage
from encnet_jax.errors import UserError
from encnet_jax.pods import distributed
from encnet_jax.storage import outputs


@contextlib.contextmanager
def locked(workdir: str) -> Iterator[Callable[[], bool]]:
    """Makes the folder and holds it, so that no second run writes into it.

    Process 0 holds it for all. Folders on object stores cannot be locked and are not.

    Yields:
        A function that says whether the folder, and the lock in it, was deleted since;
        in processes other than 0, and for object stores, it never is.

    Raises:
        UserError: another run holds it, it cannot be made, or the processes of this run
            do not share it.
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
        storage.check_backslash(workdir)
    storage.check_writable(workdir)
    path = epath.Path(workdir)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{workdir} cannot be made ({error}); choose another --workdir"
        ) from None
    if storage.is_remote(workdir):
        yield lambda: False
        return
    check_ours(workdir)
    with _opened_lock(path / ".lock") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another run is using {workdir}: wait for it, stop it, or choose"
                " another --workdir"
            ) from None
        yield lambda: not _is_at(file.fileno(), path / ".lock")


def check_ours(workdir: str) -> None:
    """Raises UserError if a run would replace a file that is not of a run."""
    folder = epath.Path(workdir)
    for name, kind in (
        ("config.json", "configuration of a run"),
        ("time.json", "table of starts"),
    ):
        outputs.check_replaceable(folder / name, kind, "--workdir")


def _opened_lock(path: epath.Path) -> BinaryIO:
    """Opens the lock without following a link or changing what is in the file."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        number = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise UserError(
            f"{path} is a link, expected a file of a run: remove it, or choose another"
            " --workdir"
        ) from None
    file = open(number, "rb+", buffering=0)
    try:
        storage.check_regular(path, os.fstat(number).st_mode)
    except UserError:
        file.close()
        raise
    return file


def _is_at(number: int, path: epath.Path) -> bool:
    """Whether an open file still is the one at a path."""
    try:
        return os.path.samestat(os.fstat(number), os.stat(path))
    except OSError as error:  # A network that does not answer has deleted nothing.
        return error.errno not in (errno.ENOENT, errno.ENOTDIR)


def check_same_config(workdir: str, saved, config) -> None:
    """Refuses to go on with a run under a different configuration.

    Raises:
        UserError: names the first field that differs.
    """
    difference = config_lib.first_difference(saved, config)
    if difference:
        raise UserError(
            f"{workdir} holds a run with another configuration: {difference}; choose"
            " another --workdir for a new run"
        )


def save_config(workdir: str, config) -> None:
    """Writes WORKDIR/config.json, whole or not at all; process 0 does."""
    if jax.process_index() != 0:
        return
    text = config_lib.to_json(config) + "\n"
    path = epath.Path(workdir) / "config.json"
    outputs.check_replaceable(path, "configuration of a run", "--workdir")
    storage.write_whole(path, text)
