"""Checks the path of a folder before a command starts to use the folder."""

import contextlib
import logging
import os
import pathlib
import re
import secrets
from collections.abc import Iterator

from etils import epath

from encnet_jax.errors import UserError
from encnet_jax.storage import describe, is_remote


def check_reachable(path) -> None:
    """Checks that the object store of a path can be reached; the path need not exist.

    Local paths are not checked.

    Raises:
        UserError: the scheme is unsupported, the package for the scheme is missing, or
            the store does not respond.
    """
    if is_remote(path):
        with _reached(path):
            epath.Path(path).exists()


def check_exists(path) -> None:
    """Checks that a folder in an object store exists; local paths are not checked.

    Raises:
        UserError: the folder or bucket does not exist, or cannot be reached; see
            check_reachable.
    """
    if not is_remote(path):
        return
    with _reached(path):
        if not epath.Path(path).exists():
            raise FileNotFoundError(path)


def check_writable(path) -> None:
    """Checks that files can be written to a folder, by writing and removing a file.

    If the folder does not exist, it is created for the check and then removed.

    Raises:
        UserError: the bucket does not exist or cannot be reached (see check_reachable),
            writing is not permitted, the disk is full, or the path is a file.
    """
    if is_remote(path):
        with _reached(path):
            probe = epath.Path(path) / ".probe"
            probe.write_text("")
            probe.unlink()
        return
    try:
        _try_folder(pathlib.Path(os.path.expanduser(path)))
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


@contextlib.contextmanager
def _reached(path) -> Iterator[None]:
    # Hides the traceback that gcsfs logs; the error is reported in one line.
    logger = logging.getLogger("gcsfs")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    except FileNotFoundError:
        raise UserError(
            f"{path} does not exist, or access is denied; expected a folder in a bucket"
            " that you can access"
        ) from None
    except Exception as error:  # Each package has its own error types.
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise UserError(
            f"{path} cannot be reached ({reason}); expected a local folder, or a path"
            " in an existing bucket that you can access: check the path, and install"
            " the package for the scheme (pip install gcsfs, s3fs or adlfs)"
        ) from None
    finally:
        logger.setLevel(level)


def check_for_tensorstore(workdir) -> None:
    """Raises UserError if TensorStore would write a workdir's arrays to another folder.

    TensorStore replaces backslashes in a path by slashes, and replaces bytes that are
    not UTF-8.
    """
    path = pathlib.Path(workdir).resolve()
    if "\\" in str(path):
        raise UserError(
            f"{path} contains a backslash, which the checkpoint library interprets as a"
            " slash; choose a --workdir without backslashes"
        )
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise UserError(
            f"{path} is not UTF-8, but the checkpoint library requires UTF-8 paths;"
            " choose another --workdir"
        ) from None


def check_for_merging(workdir) -> None:
    """Raises UserError if Orbax would not find the arrays that it wrote to a workdir.

    Orbax collects the arrays of all processes with a glob pattern that contains the
    path. In such a pattern, brackets match a single character.
    """
    path = os.path.abspath(workdir) if not is_remote(workdir) else str(workdir)
    if re.search(r"\[.+\]", path):
        raise UserError(
            f"{path} contains brackets, which the checkpoint library interprets as a"
            " pattern; choose a --workdir without brackets"
        )
