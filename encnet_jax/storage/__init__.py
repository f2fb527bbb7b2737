"""Files and folders on local disks, or in object stores through epath."""

import contextlib
import errno
import json
import logging
import os
import pathlib
import re
import secrets
import stat
import traceback
from collections.abc import Callable, Iterator
from typing import BinaryIO

from etils import epath

from encnet_jax.errors import DISK_FULL, UserError

_SCHEMES = ("gs", "s3", "az")


def is_remote(path) -> bool:
    """Returns whether a path is in an object store, where nothing can be locked.

    Raises:
        UserError: 'gs:/', which would be a local folder of that name, or another
            scheme, such as https://.
    """
    mistyped = re.match(r"(gs|s3|az):/(?!/)", str(path))
    if mistyped:
        raise UserError(f"{path} has one slash, wanted {mistyped[1]}://BUCKET/FOLDER")
    # pathlib makes one slash of two: file:/x is what a path of file:///x becomes.
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):/", str(path))
    if scheme is None:
        return False
    if scheme[1] not in _SCHEMES and not pathlib.Path(scheme[0]).exists():
        raise UserError(
            f"{path} begins with {scheme[1]}:, expected a local path, or one that"
            f" begins with {', '.join(f'{name}://' for name in _SCHEMES)}: copy it to a"
            " disk, and name the path there"
        )
    return scheme[1] in _SCHEMES


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
        probe = folder / f".probe-{secrets.token_hex(8)}"
        with open(probe, "xb") as file:
            file.write(b"0")
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
        mend = _MENDS.get(error.errno or 0, "see to it, then start again")
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


@contextlib.contextmanager
def opened(path) -> Iterator[BinaryIO]:
    """Opens a local regular file for reading.

    A FIFO, a socket or a terminal would block for ever, or never end.

    Raises:
        UserError: it is not a regular file.
        OSError: it is not there or may not be read.
    """
    # Without O_NONBLOCK the opening of a FIFO waits for somebody who writes into it.
    number = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        check_regular(path, os.fstat(number).st_mode)
    except UserError:
        os.close(number)
        raise
    with open(number, "rb") as file:
        yield file


def check_regular(path, mode: int | None = None) -> None:
    """Raises UserError if a local path is there and is not a regular file.

    Args:
        path: a path; links are followed. Anything is right in an object store.
        mode: of os.stat, if known.
    """
    if mode is None:
        if is_remote(path):
            return
        try:
            mode = os.stat(path).st_mode
        except (OSError, ValueError):
            return  # Opening it tells why.
    if stat.S_ISREG(mode):
        return
    found = next((word for test, word in _KINDS if test(mode)), "no regular file")
    raise UserError(f"{path} is {found}, expected a regular file: name one")


_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO (named pipe)"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def read_bytes(path, most: int | None = None) -> bytes:
    """Returns the contents of a file.

    Args:
        path: of a regular file, on a disk or in an object store.
        most: bytes; a larger file is refused. None: no limit.

    Raises:
        UserError: it is not there, is no regular file, is too large, may not be read,
            or the disk fails.
    """
    try:
        if is_remote(path):
            content = epath.Path(path).read_bytes()
            size = len(content)
        else:
            with opened(os.path.expanduser(path)) as file:
                size = os.fstat(file.fileno()).st_size
                content = b"" if most is not None and size > most else file.read()
    except OSError as error:
        raise UserError(describe(error, path)) from None
    except MemoryError:
        raise UserError(f"{path} does not fit into memory") from None
    except ValueError as error:  # A NUL in a name.
        raise UserError(f"{os.fspath(path)!r} cannot be opened: {error}") from None
    if most is not None and size > most:
        raise UserError(
            f"{path} has {size:,} bytes, expected at most {most:,}: name another file"
        )
    return content


MOST_JSON_BYTES = 64 << 20


def read_json(path) -> dict:
    """Returns the object that a JSON file holds.

    Raises:
        UserError: it cannot be read, is cut short, or holds something else.
    """
    value = parsed_json(read_bytes(path, MOST_JSON_BYTES), path)
    if not isinstance(value, dict):
        raise UserError(
            f"{path}: holds a {type(value).__name__}; wanted an object, {{...}}, as it"
            " was written: restore it"
        )
    return value


def parsed_json(content: bytes, path):
    """Returns the value of JSON text.

    Args:
        content: the text.
        path: where it comes from, for the error.

    Raises:
        UserError: it is no JSON, or nested too deeply.
    """
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise UserError(
            f"{path}: no whole JSON file ({reason}); restore it, or write it again"
        ) from None


@contextlib.contextmanager
def whole(path) -> Iterator[epath.Path]:
    """Yields the name of a file to write, which gets its own name only at the end.

    Where the writing fails nothing is left, and a file of that name stays as it was.
    """
    path = epath.Path(path)
    # A name that nobody can guess and that is made exclusively: another file, or a link
    # of that name, is never written to. It is short because names have a limit, and
    # begins with a dot so that no reader takes it for a finished file.
    suffix = path.suffix if len(path.suffix) < 16 else ""
    partial = path.with_name(f".partial-{secrets.token_hex(8)}{suffix}")
    try:
        if not is_remote(path):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            os.close(os.open(partial, flags, 0o666))
        yield partial
        partial.replace(path)
    except BaseException as error:
        # A full disk names no file, and the partial one means nothing to the user.
        if isinstance(error, OSError) and error.filename in (None, str(partial)):
            error.filename = str(path)
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
