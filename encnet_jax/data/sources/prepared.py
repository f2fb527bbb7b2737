"""Reads the prepared records that encnet_jax.data.prepare has written."""

import os

import numpy as np
from etils import epath

from encnet_jax import storage
from encnet_jax.data.sources import decode
from encnet_jax.data.sources.array_records import open_splits
from encnet_jax.data.sources.decode import DEFAULT_RULES, ImageRules
from encnet_jax.data.sources.info import STORED_VERSION, VIEWS_FILE, DatasetInfo
from encnet_jax.data.sources.records import Example, Record, decode_record
from encnet_jax.errors import UserError, reason
from encnet_jax.storage import lookup


class RecordSource:
    """Base class of sources that read encoded images and masks.

    The method `record` returns encoded examples, which tf.data decodes. The method
    `example` returns decoded examples, as the interface pipelines.dataset.Source
    requires.
    """

    def __init__(self, info: DatasetInfo, rules: ImageRules):
        self.info = info
        self.rules = rules

    def sizes(self) -> dict[str, int]:
        """Returns {split: number of examples} of the available splits."""
        raise NotImplementedError

    def record(self, split: str, index: int) -> Record:
        """Returns an encoded example.

        Raises:
            UserError: the example cannot be read; the message names the example.
        """
        raise NotImplementedError

    def example(self, split: str, index: int) -> Example:
        """Returns a decoded example.

        Raises:
            UserError: the example is broken; the message names the example.
        """
        return decode_record(self.record(split, index), self.info, self.rules)

    def image_size(self, split: str, index: int) -> tuple[int, int]:
        """Returns (height, width) of an image after its EXIF orientation is applied.

        Raises:
            UserError: the header is broken, or the image is too large.
        """
        record = self.record(split, index)
        return decode.image_size(record.image, record.image_file, self.rules)


def is_prepared(info: DatasetInfo, data_dir: str) -> bool:
    """Returns whether `data_dir` contains the prepared records of a data set."""
    return lookup.exists(_folder(info, data_dir))


def _folder(info: DatasetInfo, data_dir: str) -> epath.Path:
    name = info.stored_as or info.name
    return epath.Path(os.path.expanduser(data_dir)) / name / STORED_VERSION


def views(info: DatasetInfo, data_dir: str) -> dict[str, np.ndarray]:
    """Returns {example name: homography f64[3, 3] from the road plane to the image}.

    The file with these matrices is in the folder of the prepared records. If this file
    is absent, returns {}.

    Raises:
        UserError: the file with the matrices is broken.
    """
    path = _folder(info, data_dir) / VIEWS_FILE
    if not lookup.exists(path):
        return {}
    try:
        found = storage.read_json(path)
        return {name: np.reshape(rows, (3, 3)) + 0.0 for name, rows in found.items()}
    except (AttributeError, TypeError, ValueError):
        raise UserError(
            f"{path}: cannot be read; expected a matrix of 3x3 numbers for each image;"
            f" remove the folder {path.parent} and prepare the data set again"
        ) from None


class PreparedSource(RecordSource):
    """Reads a data set that encnet_jax.data.prepare has written."""

    def __init__(
        self, info: DatasetInfo, data_dir: str, rules: ImageRules = DEFAULT_RULES
    ):
        """Opens the prepared records of the data set.

        Raises:
            UserError: the data set is not prepared in data_dir, or is broken.
        """
        super().__init__(info, rules)
        folder = _folder(info, data_dir)
        if not lookup.exists(folder):
            raise UserError(
                f"{info.name} is not prepared: found no folder {folder};"
                f" {info.how_to_prepare(data_dir)}"
            )
        self._where = os.fspath(folder)
        try:
            every = open_splits(folder)
        # array_record raises errors of many kinds for damaged files.
        except Exception as error:
            raise UserError(self._broken("", error)) from None
        stored = {split: every[split] for split in info.splits if split in every}
        parts = {split: (split,) for split in stored} | dict(info.unions)
        self._splits = {
            split: [stored[part] for part in names]
            for split, names in parts.items()
            if all(part in stored for part in names)
        }

    def _broken(self, what: str, error: Exception) -> str:
        return (
            f"{self._where}{what}: cannot be read ({reason(error)}); remove the folder"
            " and prepare the data set again"
        )

    def sizes(self) -> dict[str, int]:
        return {split: sum(map(len, parts)) for split, parts in self._splits.items()}

    def record(self, split: str, index: int) -> Record:
        position = index
        for part in self._splits[split]:
            if position < len(part):
                break
            position -= len(part)
        try:
            stored = part[position]
            name = stored["id"].decode()
        # array_record raises errors of many kinds; other examples may be intact.
        except Exception as error:
            where = f", {split} example {index}"
            raise UserError(self._broken(where, error)) from None
        file = f"{self._where}, {split} example {name}"
        return Record(
            name=name,
            image=stored["image"],
            mask=stored["mask"],
            image_file=f"{file}, image",
            mask_file=f"{file}, mask",
        )
