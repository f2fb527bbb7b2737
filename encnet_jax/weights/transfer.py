"""Downloads files and resumes downloads; a lock admits one process at a time."""

import contextlib
import fcntl
import http.client
import os
import pathlib
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

from tqdm import tqdm

from encnet_jax import storage

_CHUNK_BYTES = 1 << 20
_TIMEOUT_SECONDS = 60
_ATTEMPTS = 5
_PAUSE_SECONDS = 1.0

# Errors that a failed download raises; an HTTPError has the server's response.
ERRORS = (urllib.error.URLError, http.client.HTTPException, OSError, ValueError)


def fetch(address: str, part: os.PathLike) -> None:
    """Downloads a file, or the missing bytes of a partly downloaded file.

    If the connection breaks, the download is resumed. The function fails after five
    attempts, after an attempt that received nothing, or if the server reports an error.
    The bytes received so far stay in the file for the next call.

    Args:
        address: URL of the file.
        part: path of the partly downloaded file; created if missing.

    Raises:
        Exception: the download failed; the error has one of the types in ERRORS.
    """
    part = pathlib.Path(part)
    for attempt in range(1, _ATTEMPTS + 1):
        before = _length(part)
        try:
            return _fetch_once(address, part)
        except urllib.error.HTTPError:
            raise  # The server has responded; a retry would not help.
        except ERRORS:
            if attempt == _ATTEMPTS or _length(part) <= before:
                raise
            time.sleep(_PAUSE_SECONDS)
    raise AssertionError("unreachable: the last attempt returns or raises an error")


@contextlib.contextmanager
def only_process(path: os.PathLike) -> Iterator[None]:
    """Locks a path during a `with` block; other processes on the machine wait.

    The lock is on the file PATH.lock, and is released even if the process is killed.
    """
    with open(f"{os.fspath(path)}.lock", "a", opener=storage.without_links) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _length(path: pathlib.Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _fetch_once(address: str, part: pathlib.Path) -> None:
    start = _length(part)
    request = urllib.request.Request(address, headers={"User-Agent": "encnet_jax"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if start and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # The file is already complete.
        raise
    resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
    start = start if resumed else 0
    length = response.headers["Content-Length"]
    total = start + int(length) if length else None
    with (
        response,
        open(part, "ab" if resumed else "wb", opener=storage.without_links) as out,
        tqdm(
            desc=part.stem, total=total, initial=start, unit="B", unit_scale=True,
            disable=None,
        ) as bar,
    ):  # fmt: skip
        while chunk := response.read(_CHUNK_BYTES):
            out.write(chunk)
            bar.update(len(chunk))
        if total is not None and out.tell() != total:
            raise ConnectionError(f"only {out.tell():,} of {total:,} bytes arrived")
