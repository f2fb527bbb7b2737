"""Reads images with one label each from a data set that TFDS prepared."""

import os

import numpy as np

from encnet_jax.data.sources import array_records
from encnet_jax.data.sources.decode import ImageRules, decode_image
from encnet_jax.data.sources.info import DatasetInfo
from encnet_jax.data.sources.records import Example
from encnet_jax.errors import UserError


class TfdsImages:
    """Reads images and class ids from ArrayRecord files that TFDS wrote.

    Implements the interface pipelines.dataset.Source.
    """

    def __init__(self, info: DatasetInfo, data_dir: str, rules: ImageRules):
        """Opens the data set; does not require TFDS.

        Args:
            info: The DatasetInfo of the data set.
            data_dir: Folder of prepared data sets.
            rules: limits on images.

        Raises:
            UserError: the data set is not prepared in data_dir, is not stored in
                ArrayRecord files, or is broken.
        """
        folder, self._splits = array_records.open_prepared(info, data_dir)
        self._rules = rules
        self._where = os.fspath(folder)

    def sizes(self) -> dict[str, int]:
        """Returns {split: number of images}."""
        return {split: len(records) for split, records in self._splits.items()}

    def example(self, split: str, index: int) -> Example:
        """Returns an example, whose label is the class id as an i32 scalar.

        Raises:
            UserError: the example is broken.
        """
        name = f"{split}_{index:07d}"
        where = f"{self._where}, {name}"
        try:
            record = self._splits[split][index]
            file, label = record["image"], np.asarray(record["label"], np.int32)
        # array_record raises errors of many kinds for damaged files.
        except Exception as error:
            raise UserError(
                f"{where}: cannot be read ({error}); prepare the data set again"
            ) from None
        return Example(name, decode_image(file, where, self._rules), label)
