"""Writes .npz files."""

import zipfile
from collections.abc import Mapping
from typing import BinaryIO

import numpy as np

from encnet_jax import storage


def write(path, arrays: Mapping[str, np.ndarray], *, compressed: bool = False) -> None:
    """Writes arrays to a .npz file, completely or not at all.

    `np.savez` is not used: if the disk is full, NumPy 2.1 leaves the archive open, and
    Python prints a traceback when the archive is freed.

    Args:
        path: path of the file; its folder must exist.
        arrays: {name: array}; arrays of Python objects are not allowed.
        compressed: whether to compress the arrays.

    Raises:
        OSError: the file cannot be written; no partial file is left.
    """

    def content(file: BinaryIO) -> None:
        kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
        with zipfile.ZipFile(file, "w", kind) as archive:
            for name, array in arrays.items():
                # Sizes are unknown when a member begins: they may exceed 2 GiB.
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)

    storage.write_whole(path, content)
