"""Checks that a command replaces only files that this package wrote.

Every file that a command writes to a path chosen by the user, or under a fixed name in
a folder chosen by the user, has a kind here. Any other file of that name belongs to the
user, and the command is refused.
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

PNG_TEXT = {"Software": MARK}  # In image files that are drawn.
SCALARS_HEAD = b"step,name,value\n"
MARKDOWN_MARK = f"<!-- written by {MARK} -->\n"
HTML_MARK = f'<meta name="generator" content="{MARK}">'


def _json_with(*names: str) -> Callable[[bytes], bool]:
    """Recognises JSON objects with these members."""

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


# By the name of the kind in messages: whether the first bytes belong to such a file.
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
    "output": _never,  # Nothing in it shows who wrote it.
}


def check_replaceable(path, kind: str, flag: str = "") -> None:
    """Checks that a file may be written.

    A link may be replaced; the file to which it points stays unchanged.

    Args:
        path: of the file.
        kind: key of _OURS.
        flag: the flag that selects another path, for the message.

    Raises:
        UserError: another file has this name.
    """
    content = _content(path, kind)
    if content is None or _OURS[kind](content):
        return
    raise UserError(
        f"{path} exists and was not written by {MARK} as a {kind}, so it is not"
        f" replaced: move it away, or choose another path{flag and f' ({flag})'}"
    )


def write(
    path,
    kind: str,
    content: bytes | str | Callable[[BinaryIO], object],
    flag: str = "",
) -> None:
    """Writes a file, whole or not at all, unless another file has its name by now.

    Args:
        path, kind, flag: see check_replaceable.
        content: see storage.write_whole.

    Raises:
        UserError: another file has this name.
        OSError: it cannot be written.
    """
    check_replaceable(path, kind, flag)
    storage.write_whole(path, content)


@contextlib.contextmanager
def all_or_none() -> Iterator[list[epath.Path]]:
    """Yields a list of written files, which are removed if the block fails."""
    written: list[epath.Path] = []
    try:
        yield written
    except BaseException:
        for path in written:
            with contextlib.suppress(OSError):
                path.unlink()
        raise


def _content(path, kind: str) -> bytes | None:
    """Returns the beginning of a file (all of a JSON file); None if it may be replaced.

    Raises:
        UserError: it is not a regular file.
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
