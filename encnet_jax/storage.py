"""Files and folders on local disks, or in object stores through epath."""

import contextlib
import errno
import json
import logging
import os
import pathlib
import re
import traceback
from collections.abc import Callable, Iterator
from typing import BinaryIO

from etils import epath

from encnet_jax.errors import DISK_FULL, UserError


def is_remote(path) -> bool:
    """Returns whether a path is in an object store, where nothing can be locked.

    Raises:
        UserError: 'gs:/', which would be a local folder of that name.
    """
    mistyped = re.match(r"(gs|s3|az):/(?!/)", str(path))
    if mistyped:
        raise UserError(f"{path} has one slash, wanted {mistyped[1]}://BUCKET/FOLDER")
    return "://" in str(path)


def local_path(path: str, flag: str) -> pathlib.Path:
    """Returns the path of something that libraries read and write on disks only.

    Args:
        path: a file or folder.
        flag: where the user named it, for the error.

    Raises:
        UserError: it is in an object store.
    """
    if is_remote(path):
        raise UserError(
            f"{flag} is {path}, wanted a place on a disk; copy between the two"
            " (gcloud storage cp -r, aws s3 cp --recursive)"
        )
    return pathlib.Path(path).expanduser()


def check_backslash(workdir) -> None:
    """Raises UserError if the absolute path of a local workdir has a backslash.

    TensorStore reads it as a slash, and would write the arrays of checkpoints to
    another folder.
    """
    path = pathlib.Path(workdir).resolve()
    if "\\" in str(path):
        raise UserError(
            f"{path} contains a backslash, which the checkpoint library reads as a"
            " slash; choose a --workdir without one"
        )


def check_reachable(path) -> None:
    """Makes sure that an object store can be reached; the path may be new.

    Raises:
        UserError: an unknown scheme, its package is missing, no answer.
    """
    if is_remote(path):
        with _reached(path):
            epath.Path(path).exists()


def check_exists(path) -> None:
    """Makes sure that a folder in an object store is there.

    Raises:
        UserError: as check_reachable, and where there is no such folder or bucket.
    """
    if not is_remote(path):
        return
    with _reached(path):
        if not epath.Path(path).exists():
            raise FileNotFoundError(path)


def check_writable(path) -> None:
    """Makes sure that a folder takes files, by writing one before the work starts.

    A folder that is not there yet is made where it will be, and then removed.

    Raises:
        UserError: as check_reachable, and where there is no such bucket, no right to
            write, no space, or a file of that name.
    """
    if is_remote(path):
        with _reached(path):
            probe = epath.Path(path) / ".probe"
            probe.write_text("")
            probe.unlink()
        return
    try:
        _try_folder(pathlib.Path(path).expanduser())
    except OSError as error:
        raise UserError(describe(error, path)) from None


def _try_folder(folder: pathlib.Path) -> None:
    missing = [p for p in (folder, *folder.parents) if not p.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.write_bytes(b"0")
        probe.unlink()
    finally:
        for made in missing:
            with contextlib.suppress(OSError):  # Another process may be using it.
                made.rmdir()


# Packages in which the errors of object stores are raised.
_STORES = ("gcsfs", "s3fs", "adlfs", "fsspec", "aiohttp", "botocore", "tensorstore")


def is_of_store(error: BaseException) -> bool:
    """Whether an object store refused, failed or did not answer.

    Every package has errors of its own; what they have in common is where they come
    from. One that cannot even be imported has asked no store.
    """
    if isinstance(error, ImportError):
        return False
    frames = traceback.walk_tb(error.__traceback__)
    modules = (frame.f_globals.get("__name__", "") for frame, _ in frames)
    return any(module.partition(".")[0] in _STORES for module in modules)


def describe(error: OSError, path=None) -> str:
    """Returns one line for an error of the system: which file, why, what to do.

    Args:
        error: as it was raised.
        path: what the user named; None for the error's own file.
    """
    name = path if path is not None else error.filename
    if error.errno in DISK_FULL:
        mend = "free some space, then start again"
    else:
        mend = _MENDS.get(error.errno, "see to it, then start again")
    reason = error.strerror or " ".join(str(error).split()) or type(error).__name__
    return f"{'' if name is None else f'{name}: '}{reason}; {mend}"


_MENDS = {
    errno.EACCES: "wanted the right to use it: ask its owner, or name another place",
    errno.EPERM: "wanted the right to use it: ask its owner, or name another place",
    errno.EROFS: "name another place",
    errno.ENOENT: "it is not there (any more): name another, or bring it back",
    errno.EEXIST: "there is a file of that name: name another folder",
    errno.ENOTDIR: "there is a file of that name: name another folder",
    errno.EISDIR: "wanted a file: name one",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
}


def read_bytes(path) -> bytes:
    """Returns the contents of a file.

    Raises:
        UserError: it is not there, may not be read, or the disk fails.
    """
    try:
        return epath.Path(path).read_bytes()
    except OSError as error:
        raise UserError(describe(error, path)) from None


def read_json(path) -> dict:
    """Returns the object that a JSON file holds.

    Raises:
        UserError: it cannot be read, is cut short, or holds something else.
    """
    try:
        value = json.loads(read_bytes(path))
    except ValueError as error:
        raise UserError(
            f"{path}: no whole JSON file ({error}); restore it, or write it again"
        ) from None
    if not isinstance(value, dict):
        raise UserError(
            f"{path}: holds a {type(value).__name__}; wanted an object, {{...}}, as it"
            " was written: restore it"
        )
    return value


@contextlib.contextmanager
def whole(path) -> Iterator[epath.Path]:
    """Yields the name of a file to write, which gets its own name only at the end.

    Where the writing fails nothing is left, and a file of that name stays as it was.
    """
    path = epath.Path(path)
    # With the process's number: two that write the same file would mix their halves.
    # With the dot no reader takes it for a finished one.
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        yield partial
        partial.replace(path)
    except BaseException as error:
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # A full disk names no file.
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def write_whole(path, content: bytes | str | Callable[[BinaryIO], object]) -> None:
    """Writes a file, whole or not at all.

    Args:
        path: of the file; its folder has to be there.
        content: bytes, text, or a function that writes them to an open file.

    Raises:
        OSError: it cannot be written; nothing is left.
    """
    with whole(path) as partial:
        if not callable(content):
            data = content.encode() if isinstance(content, str) else content
            partial.write_bytes(data)
            return
        with partial.open("wb") as file:
            content(file)


@contextlib.contextmanager
def _reached(path) -> Iterator[None]:
    # gcsfs logs a traceback of what is reported in one line here.
    logger = logging.getLogger("gcsfs")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    except FileNotFoundError:
        raise UserError(
            f"{path} is not there, or may not be seen; wanted a folder of a bucket"
        ) from None
    except Exception as error:  # Every package has errors of its own.
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise UserError(
            f"{path} cannot be reached ({reason}); wanted a local folder, or gs://,"
            " s3:// or az:// with its package (pip install gcsfs, s3fs or adlfs), a"
            " bucket that is there, and the right to use it"
        ) from None
    finally:
        logger.setLevel(level)
