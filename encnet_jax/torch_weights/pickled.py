"""Reads PyTorch's zip format (since 1.6) without PyTorch; never runs a file's code."""

import collections
import math
import pickle
import zipfile
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np

_RECORD = "data.pkl"  # In the archive's only folder, next to data/0, data/1, ...
_STORAGES = {
    "BFloat16Storage": np.dtype(jnp.bfloat16),
    "BoolStorage": np.dtype(np.bool_),
    "ByteStorage": np.dtype(np.uint8),
    "CharStorage": np.dtype(np.int8),
    "ComplexDoubleStorage": np.dtype(np.complex128),
    "ComplexFloatStorage": np.dtype(np.complex64),
    "DoubleStorage": np.dtype(np.float64),
    "FloatStorage": np.dtype(np.float32),
    "HalfStorage": np.dtype(np.float16),
    "IntStorage": np.dtype(np.int32),
    "LongStorage": np.dtype(np.int64),
    "ShortStorage": np.dtype(np.int16),
}
_NUMERIC = "biufc"  # NumPy's kinds of plain numbers.
# Limit on a tensor's elements: with strides of 0, a few bytes define a huge tensor.
_MAX_ELEMENTS = 1 << 31


class NotPlainError(Exception):
    """Raised for an object that is not an array, number, string or container.

    The message is the name of the class or function that creates the object.
    """


class Kind(NamedTuple):
    """The type of the numbers in a PyTorch storage.

    Attributes:
        dtype: NumPy dtype in the machine's byte order.
    """

    dtype: np.dtype


class Storage(NamedTuple):
    """A PyTorch storage: the numbers of one tensor or of several tensors.

    Attributes:
        values: one-dimensional array of the numbers.
    """

    values: np.ndarray


class _Maker:
    """Wraps a function; a pickle can call the function, but cannot set attributes."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable):
        self._function = function

    def __call__(self, *arguments):
        return self._function(*arguments)

    def __setstate__(self, state):
        raise pickle.UnpicklingError("the file sets the attributes of a function")


class _NumPyType:
    """A NumPy dtype in a pickle; __setstate__ sets the byte order."""

    __slots__ = ("dtype",)

    def __init__(self, text: str, *_):
        self.dtype = np.dtype(text if isinstance(text, str) else "O")
        if self.dtype.kind not in _NUMERIC:
            raise NotPlainError(f"numpy.dtype {text!r}")

    def __setstate__(self, state: tuple) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class _NumPyArray:
    """A NumPy array in a pickle; __setstate__ sets the values."""

    __slots__ = ("values",)

    def __setstate__(self, state: tuple) -> None:
        _, shape, kind, column_major, data = state
        flat = np.frombuffer(data, kind.dtype)
        self.values = flat.reshape(shape, order="F" if column_major else "C")


def is_torch_zip(archive: zipfile.ZipFile) -> bool:
    """Returns whether an archive was written by torch.save."""
    return _record(archive) is not None


def load(archive: zipfile.ZipFile) -> Any:
    """Returns the object that torch.save wrote, with NumPy arrays instead of tensors.

    Only arrays, numbers, strings and containers are created. Other classes and
    functions to which the file refers are never called.

    Args:
        archive: an archive that `is_torch_zip` accepts; the caller must check the
            unpacked size.

    Raises:
        NotPlainError: the file refers to another class or function.
        Exception: the file is damaged; pickle and zipfile raise errors of many types.
    """
    record = _record(archive)
    if record is None:
        raise ValueError("the file was not written by torch.save")
    return plain(_Unpickler(archive, record).load(), {})


def _record(archive: zipfile.ZipFile) -> str | None:
    """Returns the path of data.pkl in an archive, or None if data.pkl is missing."""
    for name in archive.namelist():
        if name == _RECORD or name.endswith(f"/{_RECORD}"):
            return name
    return None


class PlainUnpickler(pickle.Unpickler):
    """Unpickler that permits only storage types and the functions in `_PERMITTED`."""

    def find_class(self, module: str, name: str) -> Any:
        """Returns the object that replaces the class or function of this name.

        Raises:
            NotPlainError: the class or function is not permitted.
        """
        if module == "torch" and name in _STORAGES:
            return Kind(_STORAGES[name])
        # NumPy 2 renamed the module.
        key = f"{module.replace('numpy._core', 'numpy.core')}.{name}"
        if key not in _PERMITTED:
            raise NotPlainError(f"{module}.{name}")
        return _PERMITTED[key]


class _Unpickler(PlainUnpickler):
    """Unpickler that reads storages from the zip archive."""

    def __init__(self, archive: zipfile.ZipFile, record: str):
        super().__init__(archive.open(record))
        self._archive, self._folder = archive, record.removesuffix(_RECORD)
        self._storages: dict[str, Storage] = {}
        order = f"{self._folder}byteorder"
        known = order in archive.namelist()
        self._order: Literal["<", ">"] = (
            ">" if known and archive.read(order).strip() == b"big" else "<"
        )

    def persistent_load(self, pid: tuple) -> Storage:
        """Returns a storage, whose values are read from the archive on first use."""
        tag, kind, key, _, count = pid
        if tag != "storage" or not isinstance(kind, Kind):
            raise pickle.UnpicklingError("the file contains an unknown kind of storage")
        if key not in self._storages:
            data = self._archive.read(f"{self._folder}data/{key}")
            values = np.frombuffer(data, kind.dtype.newbyteorder(self._order), count)
            self._storages[key] = Storage(values.astype(kind.dtype, copy=False))
        return self._storages[key]


def _tensor(storage: Storage, offset: int, shape: tuple, strides: tuple, *_):
    """Returns a tensor as a read-only array.

    Args:
        storage: the tensor's storage, which other tensors may share.
        offset: index of the tensor's first element in the storage.
        shape: shape of the tensor.
        strides: strides of the tensor in the storage, in elements.

    Raises:
        UnpicklingError: the shape is invalid, the tensor extends beyond its storage, or
            the tensor has more than 2^31 elements.
    """
    values = storage.values
    if len(shape) != len(strides) or min((offset, *shape, *strides)) < 0:
        raise pickle.UnpicklingError("the file contains a tensor of impossible shape")
    if 0 in shape:
        return np.zeros(shape, values.dtype)
    steps = zip(shape, strides, strict=True)
    last = offset + sum((size - 1) * step for size, step in steps)
    if last >= values.size or math.prod(shape) > _MAX_ELEMENTS:
        raise pickle.UnpicklingError(
            f"a tensor extends beyond the end of its storage ({values.size:,} elements)"
            f" or has more than {_MAX_ELEMENTS:,} elements"
        )
    return np.lib.stride_tricks.as_strided(
        values[offset:],
        shape,
        tuple(step * values.itemsize for step in strides),
        writeable=False,
    )


def _numpy_scalar(kind: _NumPyType, data: bytes) -> np.generic:
    return np.frombuffer(data, kind.dtype, 1)[0]


def _latin1(text: str, encoding: str) -> bytes:
    """Returns the bytes that an old pickle protocol stored as text."""
    if encoding != "latin1":
        raise NotPlainError(
            f"bytes are stored as text with encoding {encoding}; expected latin1"
        )
    return text.encode("latin1")


def plain(node: Any, done: dict[int, Any]) -> Any:
    """Converts an unpickled object to arrays, numbers and strings in dicts and lists.

    Args:
        node: the unpickled object.
        done: {id of an object: result} of the objects that are already converted; a
            file may refer to one object several times.
    """
    if id(node) in done:
        return done[id(node)]
    found: Any = node
    if isinstance(node, dict):
        found = done[id(node)] = {}
        found.update((str(key), plain(value, done)) for key, value in node.items())
    elif isinstance(node, (list, tuple, set)):
        found = done[id(node)] = []
        found.extend(plain(value, done) for value in node)
    elif isinstance(node, _NumPyArray):
        found = node.values
    elif isinstance(node, _NumPyType):
        found = str(node.dtype)
    done[id(node)] = found
    return found


_PERMITTED: Mapping[str, Any] = {
    "torch._utils._rebuild_tensor": _Maker(_tensor),
    "torch._utils._rebuild_tensor_v2": _Maker(_tensor),
    "torch._utils._rebuild_parameter": _Maker(lambda tensor, *_: tensor),
    "torch.Size": _Maker(tuple),
    "collections.OrderedDict": collections.OrderedDict,
    "builtins.set": _Maker(set),
    "__builtin__.set": _Maker(set),
    "_codecs.encode": _Maker(_latin1),
    "numpy.dtype": _NumPyType,
    "numpy.ndarray": "an argument of _reconstruct",
    "numpy.core.multiarray.scalar": _Maker(_numpy_scalar),
    "numpy.core.multiarray._reconstruct": _Maker(lambda *_: _NumPyArray()),
}
