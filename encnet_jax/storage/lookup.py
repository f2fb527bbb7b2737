"""Looks files and folders up, without hiding errors or leaving names out."""

import errno
import fnmatch
import os
import stat

from etils import epath

from encnet_jax import storage
from encnet_jax.errors import UserError

_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


def exists(path) -> bool:
    """Whether a path exists; a dangling link does not.

    `os.path.exists` also returns False for a path that the user may not look at, or
    whose disk fails: the user would be told that a file is missing.

    Raises:
        UserError: the system does not say whether the path exists.
    """
    if storage.is_remote(path):
        return epath.Path(path).exists()
    return _mode_of(path) is not None


def is_folder(path) -> bool:
    """Whether a path exists and is a folder, or a link to one.

    Raises:
        UserError: see exists.
    """
    if storage.is_remote(path):
        return epath.Path(path).is_dir()
    mode = _mode_of(path)
    return mode is not None and stat.S_ISDIR(mode)


def identity(path) -> object:
    """Returns a value that is equal for two paths of the same file or folder."""
    if storage.is_remote(path):
        return os.fspath(path)
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _mode_of(path) -> int | None:
    """Returns the mode of a local file or folder, None if it does not exist."""
    try:
        return os.stat(path).st_mode
    except ValueError:  # The name contains NUL.
        return None
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise UserError(storage.describe(error, path)) from None


def entries(folder) -> list[epath.Path]:
    """Returns all files and folders in a folder, sorted.

    `epath.Path.iterdir` leaves out names that end in '~'.
    """
    folder = epath.Path(folder)
    if storage.is_remote(folder):
        return sorted(folder.iterdir())
    return sorted(folder / name for name in os.listdir(folder))


def matching(folder, pattern: str) -> list[epath.Path]:
    """Returns the files in a folder whose name matches a pattern, sorted.

    `epath.Path.glob` also takes '[' and '*' in the folder's own name as patterns.

    Args:
        folder: may be missing.
        pattern: of names, such as '*.json'.
    """
    found = entries(folder) if is_folder(folder) else []
    return [path for path in found if fnmatch.fnmatchcase(path.name, pattern)]


def check_readable(path) -> None:
    """Raises UserError if a local file or folder exists that the user may not read."""
    if not storage.is_remote(path) and exists(path) and not os.access(path, os.R_OK):
        denied = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        raise UserError(storage.describe(denied, path))


def size_of(path) -> int:
    """Returns the size of an existing file in bytes.

    `epath.Path.stat` also asks for the name of the owner, and fails if there is none,
    as in containers.
    """
    if storage.is_remote(path):
        return epath.Path(path).stat().length
    return os.stat(path).st_size
