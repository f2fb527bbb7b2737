"""Finds the files of a published data set in folders and archives."""

import collections
import contextlib
import dataclasses
import fnmatch
import os
import pathlib
import tempfile
from typing import BinaryIO

from encnet_jax import storage
from encnet_jax.data.archives.containers import (
    MAX_FILE_MIB,
    SUFFIXES,
    Container,
    Folder,
    open_archive,
)
from encnet_jax.errors import UserError


@dataclasses.dataclass(frozen=True, slots=True)
class StoredFile:
    """A file in a folder or an archive."""

    container: Container
    name: str

    def __str__(self) -> str:
        return self.container.where(self.name)

    def read(self) -> bytes:
        """Returns the contents of the file; raises UserError if reading fails."""
        return self.container.read(self.name)


class FileTree:
    """Finds files below a folder, also inside archives.

    An archive is treated as a folder whose name is the archive's name without the
    suffix. If a file is both in a folder and in an archive, the file in the folder is
    used. Archives inside archives are not opened. Hidden files are ignored. A FileTree
    is a context manager; the end of the `with` block closes the archives.
    """

    def __init__(
        self,
        root: str | os.PathLike,
        *,
        scratch: str | None = None,
        max_mib: float = MAX_FILE_MIB,
    ):
        """Lists all files below a folder.

        Args:
            root: The folder; symbolic links are followed.
            scratch: folder for decompressed data; None means the system's temporary
                folder.
            max_mib: largest size, in MiB, of a file that may be read into memory.

        Raises:
            UserError: an archive is broken.
        """
        self._scratch = scratch
        self._opened = contextlib.ExitStack()
        self._root = pathlib.Path(root)
        self._folders: dict[str, dict[str, StoredFile]] = collections.defaultdict(dict)
        archives: list[str] = []
        root = os.fspath(root)
        above: dict[str, frozenset] = {os.path.dirname(root): frozenset()}
        for path, folders, names in os.walk(root, followlinks=True):
            status = os.stat(path)
            place = (status.st_dev, status.st_ino)
            ancestors = above.get(os.path.dirname(path), frozenset())
            if place in ancestors:  # A link to a parent would be followed endlessly.
                folders.clear()
                continue
            above[path] = ancestors | {place}
            folders.sort()
            archives += [
                os.path.join(path, name)
                for name in sorted(names)
                if name.endswith(SUFFIXES)
            ]
            self._add(
                Folder(os.path.realpath(path), names, max_mib),
                os.path.relpath(path, root),
            )
        with contextlib.ExitStack() as opened:
            for path in archives:
                suffix = next(s for s in SUFFIXES if path.endswith(s))
                name = os.path.basename(path).removesuffix(suffix)
                path = os.path.realpath(path)
                archive = open_archive(path, scratch=scratch, max_mib=max_mib)
                opened.callback(archive.close)
                self._add(archive, name)
            self._opened = opened.pop_all()

    def __enter__(self) -> "FileTree":
        return self

    def __exit__(self, *exception) -> None:
        self._opened.close()

    def _add(self, container: Container, prefix: str) -> None:
        for name in container.names():
            folder, _, base = name.rpartition("/")
            if not base.startswith("."):
                path = os.path.normpath(os.path.join(prefix, folder))
                self._folders[path].setdefault(base, StoredFile(container, name))

    def files(self, folder: str, *suffixes: str) -> dict[str, StoredFile]:
        """Returns the files of all folders whose path ends with a given pattern.

        Args:
            folder: pattern for the last names in a folder's path, such as 'images/*';
                '*' matches any name.
            suffixes: suffixes of the files to return, such as '.png'.

        Returns:
            {file name without the suffix: file}, sorted by name.
        """
        expected = folder.split("/")
        found: dict[str, StoredFile] = {}
        for path, files in self._folders.items():
            ending = path.split("/")[-len(expected) :]
            if len(ending) == len(expected) and all(
                map(fnmatch.fnmatch, ending, expected)
            ):
                for base, file in files.items():
                    suffix = next((s for s in suffixes if base.endswith(s)), None)
                    if suffix is not None:
                        found.setdefault(base.removesuffix(suffix), file)
        return dict(sorted(found.items()))

    def file(self, name: str) -> StoredFile | None:
        """Returns a file called `name` from any folder, or None if no file matches."""
        return next((f[name] for f in self._folders.values() if name in f), None)

    def words(self, folder: str, name: str) -> list[str] | None:
        """Returns the first word of each non-empty line of a text file.

        Args:
            folder: pattern for the last names in the path of the file's folder; '*'
                matches any name.
            name: name of the file.

        Returns:
            The words, or None if the file does not exist.
        """
        file = self.files(folder, name).get("")
        if file is None:
            return None
        lines = file.read().decode("utf-8", "replace").splitlines()
        return [line.split()[0] for line in lines if line.strip()]

    def local(self, file: StoredFile) -> BinaryIO:
        """Opens a file for random access.

        A file in an archive is first copied to a temporary file. The opened file is
        closed at the end of the FileTree's `with` block.
        """
        if isinstance(file.container, Folder):
            return self._opened.enter_context(storage.opened(str(file)))
        copy = self._opened.enter_context(tempfile.TemporaryFile(dir=self._scratch))
        file.container.copy(file.name, copy)
        copy.seek(0)
        return copy

    def ends(self, suffix: str) -> StoredFile | None:
        """Returns a file whose name ends with `suffix`, or None if no file matches."""
        files = (f for folder in self._folders.values() for f in folder.items())
        return next((file for base, file in files if base.endswith(suffix)), None)

    def missing(self, expected: str) -> UserError:
        """Returns a UserError for missing files.

        The message lists the folders that were found, and the expected files.

        Args:
            expected: description of the expected files.
        """
        shown = [
            f"{str(next(iter(files.values()))).rpartition('/')[0]} ({len(files)} files)"
            for files in sorted(self._folders.values(), key=len, reverse=True)[:4]
        ]
        if not shown:
            # The root contains only links to the user's sources, which the error names.
            links = (p for p in self._root.rglob("*") if p.is_symlink())
            named = [str(link.resolve()) for link in links] or [str(self._root)]
            shown = [f"no files in {' and '.join(sorted(named))}"]
        return UserError(
            f"the source has {', '.join(shown)}; expected {expected}; docs/datasets.md "
            "shows the layout"
        )
