"""Downloads archives; resumes interrupted downloads and verifies checksums."""

import hashlib
import os
import pathlib

from encnet_jax.errors import UserError
from encnet_jax.weights import transfer


def download(address: str, folder: str | os.PathLike, *, sha1: str) -> str:
    """Downloads a file into a folder; returns the path of the file.

    If the folder already has the file, only the checksum is verified. During the
    download, the file has the suffix .part. After an interruption, the next call
    resumes the download if the server supports resuming.

    Args:
        address: URL of the file; the last part of the URL is the file's name.
        folder: folder of the downloaded file; created if missing.
        sha1: SHA-1 checksum of the file, in hexadecimal.

    Raises:
        UserError: the connection fails or is lost, or the checksum differs.
    """
    path = pathlib.Path(folder) / address.rpartition("/")[2]
    if path.exists():
        return str(_checked(path, path, sha1))
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    if part.is_symlink():
        part.unlink()  # Never write to the target of a symbolic link.
    try:
        transfer.fetch(address, part)
    except transfer.ERRORS as error:
        raise UserError(
            f"cannot download {address} ({error}); run the same command to resume (the"
            f" bytes received so far are in {part}), or download the file yourself and"
            " pass it with --source"
        ) from None
    return str(_checked(part, path, sha1).replace(path))


def _checked(file: pathlib.Path, path: pathlib.Path, sha1: str) -> pathlib.Path:
    """Returns `file` if its SHA-1 is correct, otherwise raises UserError.

    If the SHA-1 is wrong, a .part file is removed; a file at `path` is kept.

    Args:
        file: the file to check: `path`, or the downloaded .part file.
        path: the path of the file after the download.
        sha1: the expected checksum, in hexadecimal.
    """
    with open(file, "rb") as contents:
        found = hashlib.file_digest(contents, "sha1").hexdigest()
    if found == sha1:
        return file
    if file != path:
        file.unlink()
        raise UserError(
            f"{path.name}: the downloaded file has SHA-1 {found}; expected {sha1}; run"
            " the same command to download the file again"
        )
    raise UserError(
        f"{path}: has SHA-1 {found}; expected {sha1}; remove the file to download it"
        " again, or use the file anyway by passing it with --source"
    )
