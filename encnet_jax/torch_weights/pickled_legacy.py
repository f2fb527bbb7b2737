"""Reads PyTorch's format before 1.6 without PyTorch; never runs a file's code.

Files published until 2020, and some later files, have this format. A file is a sequence
of pickles (a magic number, the format's version, information about the machine, the
saved object, the keys of the storages), followed by the storages in the order of the
keys. Each storage is an int64 count followed by that many numbers, in little-endian
byte order.

Source: torch/serialization.py of PyTorch 2, `_legacy_load`. Deviation: tar archives,
which PyTorch wrote before version 0.2, are not supported.
"""

import io
import pickle
from typing import Any

import numpy as np

from encnet_jax.torch_weights.pickled import (
    Kind,
    NotPlainError,
    PlainUnpickler,
    Storage,
    plain,
)

MAGIC = 0x1950A86A20F9469CFC6C
_VERSION = 1001


def load(source: io.BytesIO) -> Any:
    """Returns the object that torch.save wrote, with NumPy arrays instead of tensors.

    Only arrays, numbers, strings and containers are created; see pickled.load.

    Args:
        source: contents of the whole file.

    Raises:
        NotPlainError: the file refers to another class or function.
        Exception: the file is damaged or not a PyTorch file; pickle raises errors of
            many types.
    """
    size = len(source.getbuffer())
    source.seek(0)
    storages: dict[str, Storage] = {}
    magic, version, _ = (_Unpickler(source, {}, 0).load() for _ in range(3))
    if magic != MAGIC or version != _VERSION:
        raise pickle.UnpicklingError("the file does not begin like a PyTorch file")
    loaded = _Unpickler(source, storages, size).load()
    keys = _Unpickler(source, {}, 0).load()
    if not isinstance(keys, list) or sorted(keys) != sorted(storages):
        raise pickle.UnpicklingError(
            "the tensors' storages do not match the list of keys"
        )
    for key in keys:
        _fill(storages[key].values, source)
    return plain(loaded, {})


def _fill(values: np.ndarray, source: io.BytesIO) -> None:
    """Reads the numbers of a storage from the file into `values`."""
    count = int.from_bytes(source.read(8), "little")
    stored = values.dtype.newbyteorder("<")
    data = source.read(values.nbytes)
    if count != values.size or len(data) != values.nbytes:
        raise pickle.UnpicklingError("a storage is truncated")
    values[:] = np.frombuffer(data, stored)


class _Unpickler(PlainUnpickler):
    """Unpickler that allocates storages filled with zeros.

    The numbers follow the pickle in the file, and are read later.
    """

    def __init__(self, source: io.BytesIO, storages: dict[str, Storage], room: int):
        super().__init__(source, encoding="utf-8")
        self._storages, self._room = storages, room

    def persistent_load(self, pid: tuple) -> Storage:
        """Returns a PyTorch storage, or the part of a storage that a tensor uses."""
        if pid[0] == "module":
            raise NotPlainError("a module")
        tag, kind, key, _, count, view = pid
        if tag != "storage" or not isinstance(kind, Kind) or not isinstance(key, str):
            raise pickle.UnpicklingError("the file contains an unknown kind of storage")
        if key not in self._storages:
            # Memory is allocated only for numbers that the file can contain.
            self._room -= count * kind.dtype.itemsize
            if count < 0 or self._room < 0:
                raise pickle.UnpicklingError(
                    "a storage extends beyond the end of the file"
                )
            self._storages[key] = Storage(np.zeros(count, kind.dtype))
        storage = self._storages[key]
        if view is None:
            return storage
        _, start, length = view
        if min(start, length) < 0 or start + length > storage.values.size:
            raise pickle.UnpicklingError("a view extends beyond the end of its storage")
        return Storage(storage.values[start : start + length])
