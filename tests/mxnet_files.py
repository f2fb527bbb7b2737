"""MXNet's .params files, written for tests."""

import struct

import numpy as np

V0, V1, V2, V3 = None, 0xF993FAC8, 0xF993FAC9, 0xF993FACA
CODES = {"f4": 0, "f8": 1, "f2": 2, "u1": 3, "i4": 4, "i1": 5, "i8": 6}


def array_bytes(array: np.ndarray, version=V1, storage: int = 0) -> bytes:
    """Returns one array as a file of that version holds it."""
    parts = [] if version is None else [struct.pack("<I", version)]
    if version in (V2, V3):
        parts.append(struct.pack("<i", storage))
    side = "I" if version is None else "q"
    parts.append(struct.pack(f"<I{array.ndim}{side}", array.ndim, *array.shape))
    parts.append(struct.pack("<iii", 1, 0, CODES[array.dtype.str[1:]]))
    return b"".join([*parts, array.tobytes()])


def file_bytes(arrays: dict[str, np.ndarray], version=V1, storage: int = 0) -> bytes:
    """Returns a whole file."""
    parts = [struct.pack("<QQQ", 0x112, 0, len(arrays))]
    parts += [array_bytes(x, version, storage) for x in arrays.values()]
    parts.append(struct.pack("<Q", len(arrays)))
    for name in arrays:
        parts.append(struct.pack("<Q", len(name.encode())) + name.encode())
    return b"".join(parts)
