"""Folders wherever they lie: on local disks, or in object stores through epath."""

import pathlib

from etils import epath

from encnet_jax.errors import UserError


def is_remote(path) -> bool:
    """Tells whether a path lies in an object store, where nothing can be locked."""
    return "://" in str(path)


def local_path(path: str, flag: str) -> pathlib.Path:
    """Returns a path of what libraries write to disks only.

    Args:
        path: a file or folder.
        flag: where the user named it, for the error.

    Raises:
        UserError: it lies in an object store.
    """
    if is_remote(path):
        raise UserError(
            f"{flag} is {path}, wanted a place on a disk: write it there, then copy it"
            " (gcloud storage cp -r, aws s3 cp --recursive)"
        )
    return pathlib.Path(path).expanduser()


def check(path) -> None:
    """Makes sure that a path's file system can be reached.

    Raises:
        UserError: an unknown scheme, its package is missing, no such bucket, no rights.
    """
    if not is_remote(path):
        return
    try:
        epath.Path(path).exists()
    except Exception as error:  # Every package has errors of its own.
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"{path} cannot be reached ({reason}); wanted a local folder, or gs://,"
            " s3:// or az:// with its package (pip install gcsfs, s3fs or adlfs) and"
            " the right to use it"
        ) from None
