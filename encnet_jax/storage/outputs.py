"""Checks that commands overwrite only files that this package has written.

Commands write files, such as reports and pictures, to paths that the user chooses. If a
path already has a file, this module checks by the contents whether this package has
written the file for the same purpose. Any other file probably belongs to the user, so
the command fails instead of overwriting the file.
"""

import contextlib
import json
import os
import stat
from collections.abc import Callable, Iterator
from typing import BinaryIO

from etils import epath

from encnet_jax import storage
from encnet_jax.errors import UserError

MARK = "encnet_jax"
_HEAD_BYTES = 4096
_MOST_JSON_BYTES = 16 << 20

PNG_TEXT = {"Software": MARK}  # Metadata of figures.
SCALARS_HEAD = b"step,name,value\n"
MARKDOWN_MARK = f"<!-- written by {MARK} -->\n"
HTML_MARK = f'<meta name="generator" content="{MARK}">'


def _json_with(*names: str) -> Callable[[bytes], bool]:
    """Returns a function that checks whether bytes are a JSON object with `names`."""

    def ours(content: bytes) -> bool:
        try:
            value = json.loads(content)
        except (ValueError, RecursionError):
            return False
        return isinstance(value, dict) and set(names) <= value.keys()

    return ours


def _marked(start: bytes, mark: bytes) -> Callable[[bytes], bool]:
    def ours(content: bytes) -> bool:
        return content.startswith(start) and mark in content[:_HEAD_BYTES]

    return ours


def _never(content: bytes) -> bool:
    return False


# For each kind, as messages name it, a function that recognises its first bytes.
_OURS: dict[str, Callable[[bytes], bool]] = {
    "configuration of a run": _json_with("data", "model", "loss", "optim", "train"),
    "report": _json_with("rule", "split", "protocol", "step"),
    "table of starts": _json_with("starts"),
    "file of image scores": _marked(b"PK", b"ids.npy"),
    "list of classes": _json_with("classes"),
    "summary of scores": _json_with("summaries"),
    "temperature": _json_with("temperature", "split"),
    "table of scalars": _marked(SCALARS_HEAD, b""),
    "table of a sweep": _json_with("field", "rows"),
    "text of a sweep": _marked(MARKDOWN_MARK.encode(), b""),
    "file of CRF parameters": _json_with("radius", "iterations"),
    "HTML report": _marked(b"<!doctype html>", HTML_MARK.encode()),
    "picture": _marked(b"\x89PNG", MARK.encode()),
    "output": _never,  # Its contents do not show who wrote it.
}


def check_replaceable(path, kind: str, flag: str = "") -> None:
    """Checks that a file may be written to a path.

    The path may be unused, a file that this package has written for the same purpose,
    or a symbolic link. A link may be replaced, because the file to which it points
    stays unchanged.

    Args:
        path: path of the file.
        kind: purpose of the file, such as 'report'; a key of _OURS.
        flag: the flag with which the user can choose another path, for the message.

    Raises:
        UserError: the path already has another file, which must not be overwritten.
    """
    content = _content(path)
    if content is None or _OURS[kind](content):
        return
    raise UserError(
        f"{path} exists and was not written by {MARK} as a {kind}; expected an unused"
        f" path: move the file away, or choose another path{flag and f' ({flag})'}"
    )


def write(
    path,
    kind: str,
    content: bytes | str | Callable[[BinaryIO], object],
    flag: str = "",
) -> None:
    """Calls check_replaceable, then writes a file completely or not at all.

    Args:
        path, kind, flag: see check_replaceable.
        content: bytes, text, or a function that writes to an open binary file.

    Raises:
        UserError: the path already has another file, which must not be overwritten.
        OSError: the file cannot be written.
    """
    check_replaceable(path, kind, flag)
    storage.write_whole(path, content)


@contextlib.contextmanager
def all_or_none() -> Iterator[list[epath.Path]]:
    """If a `with` block fails, removes all files that the block has written.

    Yields:
        An empty list, to which the block must append the path of each written file.
    """
    written: list[epath.Path] = []
    try:
        yield written
    except BaseException:
        for path in written:
            with contextlib.suppress(OSError):
                path.unlink()
        raise


def _content(path) -> bytes | None:
    """Returns a file's first 16 MiB; None if the path is unused or a symbolic link.

    Raises:
        UserError: the path is not a regular file, or cannot be read.
    """
    if storage.is_remote(path):
        path = epath.Path(path)
        return path.read_bytes()[:_MOST_JSON_BYTES] if path.exists() else None
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(storage.describe(error, path)) from None
    if stat.S_ISLNK(mode):
        return None
    storage.check_regular(path, mode)
    try:
        with storage.opened(path) as file:
            return file.read(_MOST_JSON_BYTES)
    except OSError as error:
        raise UserError(storage.describe(error, path)) from None
