"""Reads examples from .npz files into memory."""

import os
import zipfile

import numpy as np
from etils import epath

from encnet_jax import storage
from encnet_jax.data.sources.info import DatasetInfo
from encnet_jax.data.sources.records import Example
from encnet_jax.errors import UserError, reason
from encnet_jax.labels import IGNORE_LABEL
from encnet_jax.storage import lookup


def load(path: epath.Path, expected: str, max_mib: float) -> dict[str, np.ndarray]:
    """Reads all arrays of an .npz file; rejects pickled objects, which could run code.

    Args:
        path: path of the file.
        expected: description of the expected contents, for error messages.
        max_mib: limit on the size of one unpacked array in MiB.

    Raises:
        UserError: the file is broken or contains pickled objects, or an array exceeds
            max_mib.
    """
    storage.check_regular(path)
    try:
        with path.open("rb") as file:
            with zipfile.ZipFile(file) as archive:
                largest = max((i.file_size for i in archive.infolist()), default=0)
            if largest > max_mib * 2**20:
                raise UserError(
                    f"{path}: has an array of {largest / 2**20:.0f} MiB; expected at"
                    f" most {max_mib:.0f} MiB; raise the limit data.max_file_mib if you"
                    " trust the file"
                )
            file.seek(0)
            with np.load(file) as arrays:
                return {name: arrays[name] for name in arrays.files}
    except (UserError, FileNotFoundError):
        raise
    # NumPy and zipfile raise errors of many kinds on damaged bytes.
    except Exception as error:
        raise UserError(
            f"{path}: cannot be read ({reason(error)}); expected {expected}; write the"
            " file again with python -m encnet_jax.data.export_arrays"
        ) from None


def exists(info: DatasetInfo, data_dir: str) -> bool:
    """Returns whether the folder of a data set in `data_dir` contains .npz files."""
    return bool(_shards(info, data_dir)[1])


def _shards(info: DatasetInfo, data_dir: str) -> tuple[epath.Path, list[epath.Path]]:
    folder = epath.Path(os.path.expanduser(data_dir)) / info.name
    files = lookup.matching(folder, "*.npz")
    return folder, [file for file in files if not file.name.startswith(".")]


class NpzSource:
    """Reads the .npz files of a data set into memory.

    Each file contains examples of one or more splits, as arrays `{split}_images`
    uint8[N, H, W, 3] and `{split}_labels` uint8[N, H, W] of train ids. The examples of
    a split are in the order of the file names.
    """

    def __init__(self, info: DatasetInfo, data_dir: str, max_mib: float = 8192):
        """Reads the .npz files in the folder of the data set.

        Args:
            info: the DatasetInfo of the data set.
            data_dir: folder that contains the data set's folder; ~ is expanded.
            max_mib: limit on the size of one unpacked array in MiB.

        Raises:
            UserError: there is no .npz file, or a file is broken, has unexpected arrays
                or contains train ids out of range.
        """
        folder, files = _shards(info, data_dir)
        if not files:
            raise UserError(
                f"{info.name} is not available as arrays: found no {folder}/*.npz;"
                " prepare the data set on a machine with TensorFlow, then run python -m"
                f" encnet_jax.data.export_arrays {info.name} --data_dir {data_dir}"
            )
        self._shards: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
        for file in files:
            expected = "the arrays 'SPLIT_images' and 'SPLIT_labels'"
            arrays = load(file, expected, max_mib)
            for split in info.splits:
                if f"{split}_images" in arrays:
                    pair = _checked_shard(arrays, split, info, f"{file}, {split}")
                    self._shards.setdefault(split, []).append(pair)
        self._places = {
            split: [(s, i) for s, pair in enumerate(pairs) for i in range(len(pair[0]))]
            for split, pairs in self._shards.items()
        }

    def sizes(self) -> dict[str, int]:
        """Returns {split: number of examples} of the available splits."""
        return {split: len(places) for split, places in self._places.items()}

    def example(self, split: str, index: int) -> Example:
        """Returns an example; its name states split and index, such as 'val_00007'."""
        shard, position = self._places[split][index]
        images, labels = self._shards[split][shard]
        return Example(f"{split}_{index:05d}", images[position], labels[position])


def _checked_shard(
    arrays: dict[str, np.ndarray], split: str, info: DatasetInfo, where: str
) -> tuple[np.ndarray, np.ndarray]:
    if f"{split}_labels" not in arrays:
        raise UserError(
            f"{where}: has the array '{split}_images' but no '{split}_labels'; write"
            " the file again with python -m encnet_jax.data.export_arrays"
        )
    images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
    fits = images.dtype == labels.dtype == np.uint8 and images.shape[3:] == (3,)
    if not fits or images.shape[:3] != labels.shape or 0 in images.shape[1:]:
        raise UserError(
            f"{where}: found images {images.dtype}{list(images.shape)} and labels"
            f" {labels.dtype}{list(labels.shape)}; expected images uint8[N, H, W, 3]"
            " and labels uint8[N, H, W]"
        )
    identity = np.arange(256) < info.num_classes
    identity[IGNORE_LABEL] = True
    values = np.unique(labels)
    if not identity[values].all():
        raise UserError(
            f"{where}: labels have the value {values[~identity[values]][0]}, out of"
            f" range; expected train ids 0..{info.num_classes - 1} or {IGNORE_LABEL}"
        )
    return images, labels
