"""Data sets: their declarations, where they are stored, and batches of them."""

from typing import Any

from encnet_jax import storage
from encnet_jax.data.catalogue import dataset_info
from encnet_jax.data.info import DatasetInfo
from encnet_jax.data.pipelines.dataset import Dataset
from encnet_jax.errors import UserError

__all__ = ["Dataset", "DatasetInfo", "dataset_info", "open_dataset"]


def open_dataset(data: Any) -> Dataset:
    """Opens the data set of a configuration.

    Args:
        data: The `data` fields of encnet_jax.config.defaults.

    Raises:
        UserError: the data set is unknown, not prepared or not accessible, or (reader
            'tfds') TensorFlow is not installed.
    """
    storage.check_exists(data.data_dir)
    info = dataset_info(data)
    if info.open_dataset is not None:
        return info.open_dataset(info, data)
    if data.reader == "arrays":
        from encnet_jax.data.pipelines.pillow import PillowDataset
        from encnet_jax.data.sources.npz import NpzSource

        if info.open_source is not None:
            return PillowDataset(info, info.open_source(info, data), data)
        arrays = NpzSource(info, data.data_dir, data.max_file_mib)
        return PillowDataset(info, arrays, data)
    if data.reader != "tfds":
        raise UserError(f"data.reader is {data.reader!r}; expected 'tfds' or 'arrays'")
    from encnet_jax.data.pipelines.tensorflow import TensorFlowDataset
    from encnet_jax.data.sources.decode import image_rules
    from encnet_jax.data.sources.prepared import TfdsSource

    if info.open_source is not None:
        return TensorFlowDataset(info, info.open_source(info, data), data)
    source = TfdsSource(info, data.data_dir, image_rules(data))
    return TensorFlowDataset(info, source, data)
