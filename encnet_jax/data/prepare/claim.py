"""Locks a folder while a data set is prepared, and removes unfinished data sets."""

import contextlib
import fcntl
import os
import pathlib
import re
import shutil
from collections.abc import Iterator

from encnet_jax import storage

_UNFINISHED = re.compile(r"incomplete\.[A-Z0-9]{6}_\d+\.\d+\.\d+")


@contextlib.contextmanager
def claimed(folder: os.PathLike) -> Iterator[None]:
    """Context manager that locks a folder while a data set is written to the folder.

    The lock prevents other processes from removing the unfinished data set. Several
    processes can hold the lock at once. Unfinished data sets of earlier runs are
    removed on entry, unless another process holds the lock. In buckets, and in file
    systems without locks, nothing is locked or removed.

    Args:
        folder: folder of the data set, with one folder per version; created if missing.
    """
    if storage.is_remote(folder):
        yield
        return
    os.makedirs(folder, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # TFDS writes to incomplete.RANDOM_VERSION and renames it at the end.
            for unfinished in pathlib.Path(folder).glob("incomplete.*"):
                if _UNFINISHED.fullmatch(unfinished.name):
                    shutil.rmtree(unfinished)
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)  # Releases the lock.
