"""Reads images with one label each from a data set that TFDS prepared."""

import os

import numpy as np

from encnet_jax.data.sources import array_records
from encnet_jax.data.sources.decode import ImageRules, decode_image
from encnet_jax.data.sources.info import DatasetInfo
from encnet_jax.data.sources.records import Example
from encnet_jax.errors import UserError


class TfdsImages:
    """Reads images and labels from array records that TFDS prepared.

    Implements pipelines.dataset.Source.
    """

    def __init__(self, info: DatasetInfo, data_dir: str, rules: ImageRules):
        """Opens the data set; TFDS is not required.

        Args:
            info: The declaration of the data set.
            data_dir: Folder of prepared data sets.
            rules: limits on images.

        Raises:
            UserError: the data set is not prepared in data_dir, is not stored as array
                records, or is broken.
        """
        folder, self._splits = array_records.open_prepared(info, data_dir)
        self._rules = rules
        self._where = os.fspath(folder)

    def sizes(self) -> dict[str, int]:
        """Returns {split: number of images}."""
        return {split: len(records) for split, records in self._splits.items()}

    def example(self, split: str, index: int) -> Example:
        """Returns an image with its class id i32[].

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
