"""Images with one label each, as TFDS prepares ImageNet."""

import os

import numpy as np

from encnet_jax.data.info import DatasetInfo
from encnet_jax.data.sources.decode import ImageRules, decode_image
from encnet_jax.data.sources.records import Example
from encnet_jax.data.sources.tensorflow_import import (
    prepared_builder,
    tensorflow_datasets,
)
from encnet_jax.errors import UserError


class TfdsImages:
    """Images and labels that TFDS prepared as array records; see Source."""

    def __init__(self, info: DatasetInfo, data_dir: str, rules: ImageRules):
        """Opens the data set.

        Args:
            info: The data set.
            data_dir: Where it is prepared.
            rules: limits on images.

        Raises:
            UserError: it is not prepared in data_dir, or in another format.
        """
        builder, tfds = prepared_builder(info, data_dir), tensorflow_datasets()
        skip = {"image": tfds.decode.SkipDecoding()}
        try:
            self._splits = {
                split: builder.as_data_source(split, decoders=skip)
                for split in info.splits
            }
        except NotImplementedError:
            raise UserError(
                f"{builder.data_path} is not in array records, which can be read in any"
                f" order; {info.how_to_prepare(data_dir)}"
            ) from None
        self._rules = rules
        self._where = os.fspath(builder.data_path)

    def sizes(self) -> dict[str, int]:
        """Returns the number of images of each split."""
        return {split: len(records) for split, records in self._splits.items()}

    def example(self, split: str, index: int) -> Example:
        """Returns an image, its label an i32[]; raises UserError if it is broken."""
        record = self._splits[split][index]
        name = f"{split}_{index:07d}"
        image = decode_image(record["image"], f"{self._where}, {name}", self._rules)
        return Example(name, image, np.asarray(record["label"], np.int32))
