"""Reads the files of folders and archives; several threads may read at once.

Archives are not unpacked, but a compressed .tar archive is decompressed into a
temporary file.
"""

import gzip
import lzma
import os
import pathlib
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Protocol

from encnet_jax import storage
from encnet_jax.errors import UserError

MAX_FILE_MIB = 256.0  # Limit on a file in memory: small archives may hold huge files.
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
_BROKEN = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError),
    *(EOFError, OSError, ValueError, OverflowError),
    RuntimeError,  # Password required, or a compression that Python does not support.
)


class Container(Protocol):
    """The interface for reading files from a folder or an archive."""

    def names(self) -> Iterator[str]:
        """Yields the paths of all files, relative to the folder or archive."""

    def where(self, name: str) -> str:
        """Returns the full path of a file for error messages, 'ARCHIVE/FILE'."""

    def read(self, name: str) -> bytes:
        """Returns the contents of a file."""

    def copy(self, name: str, to: BinaryIO) -> None:
        """Writes the contents of a file to the open file `to`, in small blocks."""

    def close(self) -> None:
        """Closes the archive. Files cannot be read afterwards."""


class Folder:
    """Reads the files in a folder, without the files in subfolders."""

    def __init__(self, path: str, names: list[str], max_mib: float):
        self._path, self._max_mib = path, max_mib
        self._names = names

    def names(self) -> Iterator[str]:
        return iter(self._names)

    def where(self, name: str) -> str:
        return os.path.join(self._path, name)

    def read(self, name: str) -> bytes:
        path = pathlib.Path(self.where(name))
        try:
            _check_size(self.where(name), path.stat().st_size, self._max_mib)
        except OSError as error:
            raise UserError(storage.describe(error)) from None
        return storage.read_bytes(path)

    def copy(self, name: str, to: BinaryIO) -> None:
        with storage.opened(self.where(name)) as file:
            shutil.copyfileobj(file, to)

    def close(self) -> None:
        pass


class Zip:
    """Reads the files of a .zip archive."""

    def __init__(self, path: str, max_mib: float):
        self._path, self._max_mib = path, max_mib
        storage.check_regular(path)
        self._zip = zipfile.ZipFile(path)  # ZipFile allows reads from several threads.

    def names(self) -> Iterator[str]:
        return (info.filename for info in self._zip.infolist() if not info.is_dir())

    def where(self, name: str) -> str:
        return f"{self._path}/{_on_one_line(name)}"

    def read(self, name: str) -> bytes:
        try:
            _check_size(
                self.where(name), self._zip.getinfo(name).file_size, self._max_mib
            )
            return self._zip.read(name)
        except _BROKEN as error:
            raise UserError(_broken(self.where(name), error)) from None

    def copy(self, name: str, to: BinaryIO) -> None:
        try:
            with self._zip.open(name) as file:
                shutil.copyfileobj(file, to)
        except _BROKEN as error:
            raise UserError(_broken(self.where(name), error)) from None

    def close(self) -> None:
        self._zip.close()


class Tar:
    """Reads the files of a .tar archive.

    The constructor decompresses a compressed archive into a temporary file.
    """

    def __init__(self, path: str, scratch: str | None, max_mib: float):
        self._path, self._max_mib = path, max_mib
        with storage.opened(path) as file:
            is_compressed = file.read(2) == b"\x1f\x8b"
        self._file = _decompressed(path, scratch) if is_compressed else open(path, "rb")
        try:
            with tarfile.open(fileobj=self._file, mode="r:") as archive:
                self._places = {
                    member.name.removeprefix("./"): (member.offset_data, member.size)
                    for member in archive
                    if member.isfile()
                }
        except BaseException:
            self._file.close()
            raise

    def names(self) -> Iterator[str]:
        return iter(self._places)

    def where(self, name: str) -> str:
        return f"{self._path}/{_on_one_line(name)}"

    def read(self, name: str) -> bytes:
        offset, size = self._places[name]
        _check_size(self.where(name), size, self._max_mib)
        contents = os.pread(self._file.fileno(), size, offset)
        if len(contents) < size:
            raise UserError(_broken(self.where(name), "the archive is incomplete"))
        return contents

    def copy(self, name: str, to: BinaryIO) -> None:
        offset, size = self._places[name]
        for start in range(0, size, 1 << 24):
            part = min(1 << 24, size - start)
            to.write(os.pread(self._file.fileno(), part, offset + start))

    def close(self) -> None:
        self._file.close()


def _decompressed(path: str, scratch: str | None) -> BinaryIO:
    # The file has no name, so that nothing remains even if the process is killed.
    unpacked = tempfile.TemporaryFile(dir=scratch)
    try:
        with gzip.open(path) as stream:
            shutil.copyfileobj(stream, unpacked, 1 << 20)
        unpacked.seek(0)  # Also flushes: reads use the file descriptor.
    except BaseException:
        unpacked.close()
        raise
    return unpacked


def _on_one_line(name: str) -> str:
    return name if name.isprintable() else ascii(name)[1:-1]


def _check_size(where: str, size: int, max_mib: float) -> None:
    if size > max_mib * 2**20:
        raise UserError(
            f"{where}: the file has a size of {size / 2**20:.0f} MiB; expected at most"
            f" {max_mib:.0f} MiB; raise the limit with --max_file_mib"
        )


def _broken(where: str, error: object) -> str:
    return f"{where}: cannot be read ({error}); download the archive again"


def open_archive(
    path: str, *, scratch: str | None, max_mib: float = MAX_FILE_MIB
) -> Container:
    """Opens a .zip or .tar archive.

    Args:
        path: path of a .zip, .tar, .tar.gz or .tgz file.
        scratch: folder for decompressed data; None means the system's temporary folder.
        max_mib: largest size, in MiB, of a file that may be read into memory.

    Raises:
        UserError: the file is not an archive or is broken.
    """
    try:
        if path.endswith(".zip"):
            return Zip(path, max_mib)
        return Tar(path, scratch, max_mib)
    except _BROKEN as error:
        raise UserError(_broken(path, error)) from None
