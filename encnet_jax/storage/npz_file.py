"""Writes .npz files."""

import zipfile
from collections.abc import Mapping
from typing import BinaryIO

import numpy as np

from encnet_jax import storage


def write(path, arrays: Mapping[str, np.ndarray], *, compressed: bool = False) -> None:
    """Writes arrays to a .npz file, completely or not at all.

    `np.savez` is not used, because in NumPy 2.1 it leaves the archive open if the disk
    is full, and Python then prints a traceback when it frees the archive.

    Args:
        path: path of the file; its folder must exist.
        arrays: arrays by name, without Python objects.
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
