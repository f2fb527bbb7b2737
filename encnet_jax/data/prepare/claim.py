"""A folder that one preparation writes to, and what killed ones left in it."""

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
    """Claims a folder for writing, for as long as this process lives.

    Unfinished data sets in it are removed first, unless another process is preparing
    there. Folders without locks (on a network, in a bucket) are left as they are.

    Args:
        folder: Of the data set, with a folder for each version; made if missing.
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
        os.close(handle)  # Gives the lock back, as the end of the process does.
