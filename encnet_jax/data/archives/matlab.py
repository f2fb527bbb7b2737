"""Reads MATLAB files of version 5. A damaged file raises UserError.

SciPy's reader is not used: it does not check types, lengths and shapes, so that a
damaged file can crash the process.
"""

import contextlib
import math
import struct
import zlib
from typing import Any

import numpy as np

from encnet_jax.data.archives.file_tree import StoredFile
from encnet_jax.errors import explained

_HEADER_BYTES, _MOST_BYTES, _DEEPEST = 128, 1 << 28, 16
# Codes of element types and matrix classes.
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _CHAR = 1, 2, 4
_NUMERIC = range(6, 16)
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8"} | {
    12: "i8",
    13: "u8",
}
_TEXTS = {2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16"}


def variables(file: StoredFile, *names: str) -> dict[str, Any]:
    """Returns the requested variables of a MATLAB file as {name: value}.

    Numeric matrices are returned as arrays, text as str, cells as object arrays, and
    structures as dicts.

    Raises:
        UserError: the file cannot be read, or a variable is missing.
    """
    with described(str(file)):
        content = file.read()
        order = {b"IM": "<", b"MI": ">"}.get(content[126:_HEADER_BYTES])
        if order is None:
            raise ValueError("the file is not a MATLAB file of version 5")
        found: dict[str, Any] = {}
        for kind, value in _elements(content[_HEADER_BYTES:], order):
            if kind == _COMPRESSED:
                value = zlib.decompressobj().decompress(value, _MOST_BYTES)
                ((kind, value),) = _elements(value, order)
            if kind == _MATRIX:
                name = _elements(value, order)[2][1].decode()
                if name in names:
                    found[name] = _matrix(value, order, depth=0)
        return {name: found[name] for name in names}


def _elements(content: bytes, order: str) -> list[tuple[int, bytes]]:
    """Splits the bytes of a file or matrix into data elements: [(type code, bytes)].

    Source: MathWorks, MAT-File Format, level 5.
    """
    found, start = [], 0
    while start < len(content):
        kind, size = struct.unpack_from(f"{order}II", content, start)
        body = start + 8
        if kind >> 16:  # A small element: size, type and value in 8 bytes.
            kind, size, body = kind & 0xFFFF, kind >> 16, start + 4
            start += 8
        else:  # All elements but compressed ones are padded to 8 bytes.
            start = body + size + (-size % 8 if kind != _COMPRESSED else 0)
        value = content[body : body + size]
        if len(value) < size:
            raise ValueError(f"a data element of type {kind} is truncated")
        found.append((kind, value))
    return found


def _matrix(content: bytes, order: str, depth: int) -> Any:
    if depth > _DEEPEST:
        raise ValueError(f"the variable has more than {_DEEPEST} nested levels")
    (_, flags), axes, _, *parts = _elements(content, order)
    (word,) = struct.unpack_from(f"{order}I", flags)
    shape, kind = tuple(map(int, _numbers(axes, order))), word & 0xFF
    count = math.prod(shape)
    if kind in _NUMERIC:
        return _numbers(parts[0], order).reshape(shape, order="F")
    if kind == _CHAR:
        codec = _TEXTS[parts[0][0]]
        if codec == "utf-16":
            codec = "utf-16-le" if order == "<" else "utf-16-be"
        return parts[0][1].decode(codec)
    if kind == _CELL:
        if count != len(parts):
            raise ValueError(
                f"a cell array of shape {shape} has {len(parts)} cells, not {count}"
            )
        cells = np.empty(count, object)
        for i, (_, value) in enumerate(parts):
            cells[i] = _matrix(value, order, depth + 1)
        return cells.reshape(shape, order="F")
    if kind != _STRUCT or count != 1:
        raise ValueError(
            f"a matrix has MATLAB class code {kind} and shape {shape}; expected"
            " numbers, text, cells or a single struct"
        )
    length = int(_numbers(parts[0], order)[0])
    text = parts[1][1]
    fields = [text[i : i + length] for i in range(0, len(text), length)]
    values = [_matrix(value, order, depth + 1) for _, value in parts[2:]]
    return {
        field.partition(b"\0")[0].decode(): value
        for field, value in zip(fields, values, strict=True)
    }


def _numbers(element: tuple[int, bytes], order: str) -> np.ndarray:
    kind, value = element
    return np.frombuffer(value, order + _NUMBERS[kind])


def mask(found: Any) -> np.ndarray:
    """Converts a MATLAB variable to a mask uint8[H, W] of published class ids.

    Raises:
        ValueError: the variable is not a matrix of numbers from 0 to 255.
    """
    found = np.asarray(found)
    fits = found.dtype.kind in "uif" and found.ndim == 2 and found.size
    if not fits or not ((found >= 0) & (found <= 255)).all():
        raise ValueError(
            f"a variable of type {found.dtype}{list(found.shape)} is not a mask;"
            " expected a matrix of ids from 0 to 255"
        )
    return found.astype(np.uint8)


def described(file: str) -> contextlib.AbstractContextManager:
    """Returns a context manager that converts errors in reading `file` to UserError."""
    return explained(file, "cannot be read", "download the file again")
