"""Folders wherever they lie: on local disks, or in object stores through epath."""

import contextlib
import logging
import pathlib
import re
from collections.abc import Iterator

from etils import epath

from encnet_jax.errors import UserError


def is_remote(path) -> bool:
    """Tells whether a path lies in an object store, where nothing can be locked.

    Raises:
        UserError: 'gs:/', which would be a local folder of that name.
    """
    mistyped = re.match(r"(gs|s3|az):/(?!/)", str(path))
    if mistyped:
        raise UserError(f"{path} has one slash, wanted {mistyped[1]}://BUCKET/FOLDER")
    return "://" in str(path)


def local_path(path: str, flag: str) -> pathlib.Path:
    """Returns a path of what libraries read from and write to disks only.

    Args:
        path: a file or folder.
        flag: where the user named it, for the error.

    Raises:
        UserError: it lies in an object store.
    """
    if is_remote(path):
        raise UserError(
            f"{flag} is {path}, wanted a place on a disk; copy between the two"
            " (gcloud storage cp -r, aws s3 cp --recursive)"
        )
    return pathlib.Path(path).expanduser()


def check(path) -> None:
    """Makes sure that an object store can be reached; the path may be new.

    Raises:
        UserError: an unknown scheme, its package is missing, no answer.
    """
    if is_remote(path):
        with _reached(path):
            epath.Path(path).exists()


def check_there(path) -> None:
    """Makes sure that a folder in an object store is there.

    Raises:
        UserError: as check, and where there is no such folder or bucket.
    """
    if not is_remote(path):
        return
    with _reached(path):
        if not epath.Path(path).exists():
            raise FileNotFoundError(path)


def check_writable(path) -> None:
    """Makes sure that a folder in an object store takes files, by writing one.

    Raises:
        UserError: as check, and where there is no such bucket or no right to write.
    """
    if is_remote(path):
        with _reached(path):
            probe = epath.Path(path) / ".probe"
            probe.write_text("")
            probe.unlink()


@contextlib.contextmanager
def _reached(path) -> Iterator[None]:
    # gcsfs logs tracebacks of what is told in one line here.
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
