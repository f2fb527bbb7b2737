"""Fetching an archive: resumed where it stopped, and checked."""

import hashlib
import http.client
import os
import pathlib
import urllib.error
import urllib.request

from tqdm import tqdm

from encnet_jax.errors import UserError

_CHUNK_BYTES = 1 << 20
_TIMEOUT_SECONDS = 60


def download(address: str, folder: str | os.PathLike, *, sha1: str) -> str:
    """Fetches a file into a folder, unless it is there, and returns its path.

    The file is called NAME.part until it is whole and its checksum is right. A partial
    file is kept, and the next call goes on from there if the server can.

    Args:
        address: Its last part is the file's name.
        folder: Made if missing.
        sha1: The file's SHA-1, in hexadecimal.

    Raises:
        UserError: no connection, one that broke, or another file than wanted.
    """
    path = pathlib.Path(folder) / address.rpartition("/")[2]
    if path.exists():
        return str(_checked(path, path, sha1))
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    try:
        _fetch(address, part)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        raise UserError(
            f"{address}: cannot be fetched ({error}); {part} keeps what has come, run "
            "the same command to go on, or get the file otherwise and name it with "
            "--source"
        ) from None
    return str(_checked(part, path, sha1).replace(path))


def _fetch(address: str, part: pathlib.Path) -> None:
    """Appends to a file what it lacks."""
    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(address)
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if start and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # There is nothing more; the checksum decides.
        raise
    resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
    start = start if resumed else 0
    length = response.headers["Content-Length"]
    total = start + int(length) if length else None
    with (
        response,
        open(part, "ab" if resumed else "wb") as out,
        tqdm(
            desc=part.stem, total=total, initial=start, unit="B", unit_scale=True,
            disable=None,
        ) as bar,
    ):  # fmt: skip
        while chunk := response.read(_CHUNK_BYTES):
            out.write(chunk)
            bar.update(len(chunk))
        if total is not None and out.tell() != total:
            raise ConnectionError(f"{out.tell():,} of {total:,} bytes came")


def _checked(file: pathlib.Path, path: pathlib.Path, sha1: str) -> pathlib.Path:
    """Returns the file if it is the right one; a wrong .part is removed."""
    with open(file, "rb") as contents:
        found = hashlib.file_digest(contents, "sha1").hexdigest()
    if found == sha1:
        return file
    if file != path:
        file.unlink()
        raise UserError(
            f"{path.name}: what was fetched has SHA-1 {found}, wanted {sha1}; run the "
            "same command to fetch it again"
        )
    raise UserError(
        f"{path}: has SHA-1 {found}, wanted {sha1}; remove it to fetch it again, or "
        "name it with --source to use it all the same"
    )
