"""Reads MXNet's .params files without MXNet."""

import math
import os
import struct

import numpy as np
from etils import epath

from encnet_jax import storage
from encnet_jax.errors import UserError
from encnet_jax.storage import lookup

_LIST_MAGIC = 0x112
# Versions of the format with 64-bit shapes; in V2 and V3 a storage type comes first.
_V1, _V2, _V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
_MAX_AXES = 32
_DTYPES: dict[int, np.dtype] = {
    0: np.dtype("<f4"),
    1: np.dtype("<f8"),
    2: np.dtype("<f2"),
    3: np.dtype("u1"),
    4: np.dtype("<i4"),
    5: np.dtype("i1"),
    6: np.dtype("<i8"),
}


def read_params(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads a .params file written by MXNet's mx.nd.save or mx.mod.save_checkpoint.

    Memory for an array is allocated only if the file is large enough to contain the
    array.

    Args:
        path: path of the file, on a local disk or in an object store.

    Returns:
        {'arg:NAME' or 'aux:NAME': array}; floating-point arrays are f32.

    Raises:
        UserError: the file does not exist or is not a complete .params file, an array
            is sparse, empty or unnamed, or two arrays have the same name.

    Source: NDArray::Save of MXNet 0.11 and 1.x; older files, with 32-bit shapes, are
    read too.
    """
    file = epath.Path(path)
    if not lookup.exists(file) or lookup.is_folder(file):
        raise UserError(f"there is no file {file}: choose an existing weight file")
    try:
        return _Reader(storage.read_bytes(file)).arrays()
    except _FormatError as error:
        raise UserError(
            f"{path} is not a readable .params file: {error}; expected a complete"
            " checkpoint of MXNet with dense arrays"
        ) from None


class _FormatError(Exception):
    """Raised if bytes are not a valid .params file; the message states why."""


class _Reader:
    """Reads values one after the other from the contents of a .params file."""

    def __init__(self, data: bytes):
        self._data = memoryview(data)
        self._at = 0

    def arrays(self) -> dict[str, np.ndarray]:
        magic = self._number("Q") if len(self._data) >= 8 else None
        if magic != _LIST_MAGIC:
            raise _FormatError("the first bytes are not those of MXNet's format")
        self._number("Q")  # Reserved.
        values = [self._array() for _ in range(self._count("arrays", 8))]
        names = [self._name() for _ in range(self._count("names", 8))]
        if len(names) != len(values):
            raise _FormatError(
                f"the file contains {len(values)} arrays but {len(names)} names"
            )
        if self._at != len(self._data):
            raise _FormatError(
                f"{len(self._data) - self._at} surplus bytes follow the last array name"
            )
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise _FormatError(f"the file contains two arrays named {twice}")
        return dict(zip(names, values, strict=True))

    def _take(self, size: int) -> memoryview:
        if size > len(self._data) - self._at:
            raise _FormatError(f"the file is truncated after {len(self._data)} bytes")
        self._at += size
        return self._data[self._at - size : self._at]

    def _number(self, code: str) -> int:
        return struct.unpack(f"<{code}", self._take(struct.calcsize(f"<{code}")))[0]

    def _count(self, what: str, smallest: int) -> int:
        """Reads the number of items; raises _FormatError if the file is too short.

        Args:
            what: name of the items, for the message.
            smallest: minimum size of an item in bytes.
        """
        count = self._number("Q")
        if count * smallest > len(self._data) - self._at:
            raise _FormatError(
                f"the file should contain {count} {what} but ends after"
                f" {len(self._data)} bytes"
            )
        return count

    def _name(self) -> str:
        try:
            return bytes(self._take(self._count("letters", 1))).decode()
        except UnicodeDecodeError:
            raise _FormatError("a name in the file is not UTF-8 text") from None

    def _array(self) -> np.ndarray:
        magic = self._number("I")
        if magic in (_V2, _V3):
            storage = self._number("i")
            if storage != 0:
                raise _FormatError("the file contains a sparse array")
        wide = magic in (_V1, _V2, _V3)
        num_axes = self._number("I") if wide else magic
        if num_axes > _MAX_AXES:
            raise _FormatError(f"an array has {num_axes} axes, more than {_MAX_AXES}")
        shape = tuple(self._number("q" if wide else "I") for _ in range(num_axes))
        if not shape or min(shape) < 1:
            raise _FormatError(f"an array has the invalid shape {list(shape)}")
        self._number("i")  # Device type and number.
        self._number("i")
        code = self._number("i")
        if code not in _DTYPES:
            raise _FormatError(f"an array has the unknown type {code}")
        dtype = _DTYPES[code]
        data = self._take(math.prod(shape) * dtype.itemsize)
        array = np.frombuffer(data, dtype).reshape(shape)
        floating = np.issubdtype(dtype, np.floating)
        return array.astype(np.float32) if floating else array
