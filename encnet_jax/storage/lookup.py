"""Looks up files and folders without hiding errors or omitting names."""

import errno
import fnmatch
import os
import stat

from etils import epath

from encnet_jax import storage
from encnet_jax.errors import UserError

_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


def exists(path) -> bool:
    """Returns whether a path exists; False for a dangling symbolic link.

    Unlike this function, `os.path.exists` also returns False if permission is denied or
    the disk fails.

    Raises:
        UserError: the system cannot tell whether the path exists, for example because
            permission is denied.
    """
    if storage.is_remote(path):
        return epath.Path(path).exists()
    return _mode_of(path) is not None


def is_folder(path) -> bool:
    """Returns whether a path is an existing folder, or a symbolic link to a folder.

    Raises:
        UserError: the system cannot tell, for example because permission is denied.
    """
    if storage.is_remote(path):
        return epath.Path(path).is_dir()
    mode = _mode_of(path)
    return mode is not None and stat.S_ISDIR(mode)


def identity(path) -> object:
    """Returns an identifier that is equal for all paths to the same file or folder."""
    if storage.is_remote(path):
        return os.fspath(path)
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _mode_of(path) -> int | None:
    """Returns st_mode of a local file or folder; None if the path does not exist."""
    try:
        return os.stat(path).st_mode
    except ValueError:  # The name contains NUL.
        return None
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise UserError(storage.describe(error, path)) from None


def entries(folder) -> list[epath.Path]:
    """Returns the sorted paths of all files and folders in a folder.

    Local names that end in '~' are included, although `epath.Path.iterdir` omits them.
    """
    folder = epath.Path(folder)
    if storage.is_remote(folder):
        return sorted(folder.iterdir())
    return sorted(folder / name for name in os.listdir(folder))


def matching(folder, pattern: str) -> list[epath.Path]:
    """Returns the sorted paths of files and folders whose name matches a pattern.

    The folder's own path is not a pattern: '[' and '*' have no special meaning there.

    Args:
        folder: the folder to search; if the folder is absent, the result is [].
        pattern: pattern of names in fnmatch's syntax, such as '*.json'.
    """
    found = entries(folder) if is_folder(folder) else []
    return [path for path in found if fnmatch.fnmatchcase(path.name, pattern)]


def check_readable(path) -> None:
    """Raises UserError if a local file or folder exists but is not readable."""
    if not storage.is_remote(path) and exists(path) and not os.access(path, os.R_OK):
        denied = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        raise UserError(storage.describe(denied, path))


def size_of(path) -> int:
    """Returns the size of an existing file in bytes.

    `epath.Path.stat` is not used for local files, because it fails if the owner of the
    file has no user name, as in some containers.
    """
    if storage.is_remote(path):
        return epath.Path(path).stat().length
    return os.stat(path).st_size
