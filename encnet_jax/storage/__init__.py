"""Reads and writes files on local disks and, through epath, in object stores."""

import contextlib
import errno
import json
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
    """Returns whether a path is in an object store: gs://, s3:// or az://.

    Raises:
        UserError: the path begins with 'gs:/' instead of 'gs://', or has an unsupported
            scheme, such as https://.
    """
    mistyped = re.match(r"(gs|s3|az):/(?!/)", str(path))
    if mistyped:
        raise UserError(
            f"{path} has only one slash after '{mistyped[1]}:'; expected"
            f" {mistyped[1]}://BUCKET/FOLDER"
        )
    # One slash suffices: pathlib converts file:///x to file:/x.
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):/", str(path))
    if scheme is None:
        return False
    if scheme[1] not in _SCHEMES and not pathlib.Path(scheme[0]).exists():
        raise UserError(
            f"{path} begins with '{scheme[1]}:'; expected a local path, or a path that"
            f" begins with {', '.join(f'{name}://' for name in _SCHEMES)}: copy the"
            " files to a local disk, and pass the path of the copy"
        )
    return scheme[1] in _SCHEMES


def local_path(path: str, flag: str) -> pathlib.Path:
    """Returns a local path with '~' expanded; rejects paths in object stores.

    Args:
        path: path of a file or folder.
        flag: the flag with which the user passed the path, for the message.

    Raises:
        UserError: the path is in an object store.
    """
    if is_remote(path):
        raise UserError(
            f"{flag} is {path}; expected a path on a local disk: use a local path, and"
            " copy the files from or to the bucket (gcloud storage cp -r, aws s3 cp"
            " --recursive)"
        )
    return pathlib.Path(os.path.expanduser(path))


# Packages whose errors are errors of object stores.
_STORES = ("gcsfs", "s3fs", "adlfs", "fsspec", "aiohttp", "botocore", "tensorstore")


def is_of_store(error: BaseException) -> bool:
    """Returns whether an error comes from a package that accesses object stores.

    Each package has its own error types, so this function looks for the packages'
    modules in the traceback. Import errors do not count, because they occur before an
    object store is contacted.
    """
    if isinstance(error, ImportError):
        return False
    frames = traceback.walk_tb(error.__traceback__)
    modules = (frame.f_globals.get("__name__", "") for frame, _ in frames)
    return any(module.partition(".")[0] in _STORES for module in modules)


def failed_write(error: BaseException) -> str | None:
    """Describes an error if its cause is that a file cannot be written.

    The function recognises OSErrors, and errors of C++ libraries that contain the
    operating system's message.

    Returns:
        'REASON; FIX', or None if the error has another cause.
    """
    text = " ".join(str(error).split())
    for number in (*DISK_FULL, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT):
        has_number = isinstance(error, OSError) and error.errno == number
        if has_number or os.strerror(number) in text:
            return describe(OSError(number, os.strerror(number)))
    if isinstance(error, OSError):
        return describe(OSError(error.errno, error.strerror or text or "cannot write"))
    return None


def describe(error: OSError, path=None) -> str:
    """Describes an error of the operating system in one line: 'FILE: REASON; FIX'.

    Args:
        error: the error.
        path: the path as passed by the user; None for the file name in the error.
    """
    name = path if path is not None else error.filename
    if error.errno in DISK_FULL:
        fix = "free some space, then start again"
    else:
        fix = _FIXES.get(error.errno or 0, "fix this, then start again")
    words = " ".join(" ".join(map(str, error.args)).split())
    reason = error.strerror or words or type(error).__name__
    return f"{'' if name is None else f'{name}: '}{reason}; {fix}"


_FIXES = {
    errno.EACCES: "ask the owner for access, or choose another path",
    errno.EPERM: "ask the owner for access, or choose another path",
    errno.EROFS: "choose another path",
    errno.ENOENT: "check the path, or restore the file",
    errno.EEXIST: "a file has this name: choose another folder",
    errno.ENOTDIR: "a file has this name: choose another folder",
    errno.EISDIR: "choose a file instead of a folder",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "close programs that have opened many files",
}


@contextlib.contextmanager
def opened(path) -> Iterator[BinaryIO]:
    """Opens a local regular file for reading.

    Files of other kinds are rejected, because reading from a FIFO, socket or terminal
    could block forever or never end.

    Raises:
        UserError: the file is not a regular file.
        OSError: the file does not exist or cannot be read.
    """
    # Without O_NONBLOCK, opening a FIFO would wait for a writer.
    number = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        check_regular(path, os.fstat(number).st_mode)
    except UserError:
        os.close(number)
        raise
    with open(number, "rb") as file:
        yield file


def without_links(path, flags: int) -> int:
    """Opens a file unless the path is a symbolic link; parent folders may be links.

    Usage: open(path, mode, opener=without_links).

    Raises:
        OSError: the path is a symbolic link (ELOOP), or os.open fails.
    """
    # Without O_NONBLOCK, opening a FIFO would wait for a reader.
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)


def check_regular(path, mode: int | None = None) -> None:
    """Raises UserError if a local path exists and is not a regular file.

    Args:
        path: path of a file; symbolic links are followed. Paths in object stores are
            not checked.
        mode: st_mode from os.stat, if known.
    """
    if mode is None:
        if is_remote(path):
            return
        try:
            mode = os.stat(path).st_mode
        except (OSError, ValueError):
            return  # Opening the file will report the reason.
    if stat.S_ISREG(mode):
        return
    found = next((word for test, word in _KINDS if test(mode)), "not a regular file")
    raise UserError(f"{path} is {found}; expected a regular file: choose another path")


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
        path: path of a regular file, on a disk or in an object store.
        most: size limit in bytes; None for no limit.

    Raises:
        UserError: the file does not exist, is not a regular file, is too large, or
            cannot be read.
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
        raise UserError(
            f"{path} does not fit into memory; choose a smaller file, or use a machine"
            " with more memory"
        ) from None
    except ValueError as error:  # The name contains NUL.
        raise UserError(
            f"{os.fspath(path)!r} cannot be opened: {error}; choose another path"
        ) from None
    if most is not None and size > most:
        raise UserError(
            f"{path} has {size:,} bytes; expected at most {most:,}: choose a smaller"
            " file"
        )
    return content


MOST_JSON_BYTES = 64 << 20


def read_json(path) -> dict:
    """Returns the contents of a JSON file, which must be an object, as a dict.

    Raises:
        UserError: the file cannot be read, is not complete JSON, or contains a list or
            another value instead of an object.
    """
    value = parsed_json(read_bytes(path, MOST_JSON_BYTES), path)
    if not isinstance(value, dict):
        raise UserError(
            f"{path} contains a {type(value).__name__}; expected a JSON object {{...}}:"
            " restore the file from a copy, or write it again"
        )
    return value


def parsed_json(content: bytes, path):
    """Parses JSON text.

    Args:
        content: the text.
        path: path of the file that contains the text, for error messages.

    Raises:
        UserError: the text is not complete JSON, or is nested too deeply.
    """
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise UserError(
            f"{path} is not a complete JSON file ({reason}); restore it from a copy, or"
            " write it again"
        ) from None


@contextlib.contextmanager
def whole(path) -> Iterator[epath.Path]:
    """Yields a temporary path; renames the file to `path` when the block ends.

    If writing fails, the temporary file is removed, and a file that already exists at
    `path` stays unchanged.
    """
    path = epath.Path(path)
    # The random name is created exclusively, so that no other file or link is
    # overwritten. It is short because names have a length limit, and it begins with a
    # dot because readers skip such names.
    suffix = path.suffix if len(path.suffix) < 16 else ""
    partial = path.with_name(f".partial-{secrets.token_hex(8)}{suffix}")
    try:
        if not is_remote(path):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            os.close(os.open(partial, flags, 0o666))
        yield partial
        partial.replace(path)
    except BaseException as error:
        # The error names no file if the disk is full, or the temporary file, which the
        # user does not know. Errors of libraries have no errno and stay unchanged.
        if isinstance(error, OSError) and error.errno is not None:
            if error.filename in (None, str(partial)):
                error.filename = str(path)
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def write_whole(path, content: bytes | str | Callable[[BinaryIO], object]) -> None:
    """Writes a file completely or not at all.

    Args:
        path: path of the file; its folder must exist.
        content: bytes, text, or a function that writes to an open binary file.

    Raises:
        OSError: the file cannot be written; no partial file is left.
    """
    with whole(path) as partial:
        if not callable(content):
            data = content
            if isinstance(content, str):  # It may contain an undecodable file name.
                data = content.encode("utf-8", "backslashreplace")
            partial.write_bytes(data)
            return
        with partial.open("wb") as file:
            content(file)
