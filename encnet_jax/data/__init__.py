"""Data sets: their classes and splits, readers of their files, and training batches."""

from typing import Any

from encnet_jax.data.pipelines.dataset import Dataset
from encnet_jax.data.sets import dataset_info
from encnet_jax.data.sources.info import DatasetInfo
from encnet_jax.data.sources.tensorflow_import import uses_tensorflow
from encnet_jax.errors import UserError
from encnet_jax.storage import checks

__all__ = ["Dataset", "DatasetInfo", "dataset_info", "open_dataset"]

READERS = ("auto", "tfds", "arrays")


def open_dataset(data: Any) -> Dataset:
    """Opens the data set that a configuration selects.

    Args:
        data: Section `data` of the configuration; see encnet_jax.config.defaults.

    Raises:
        UserError: data.name or data.reader is unknown; the data set is not prepared or
            not accessible; or data.reader is 'tfds' and TensorFlow is not installed.
    """
    checks.check_exists(data.data_dir)
    info = dataset_info(data)
    if info.open_dataset is not None:
        return info.open_dataset(info, data)
    if data.reader not in READERS:
        raise UserError(
            f"data.reader is {data.reader!r}; expected one of: {', '.join(READERS)}"
        )
    source = (info.open_source or _open_source)(info, data)
    if uses_tensorflow(data.reader):
        from encnet_jax.data.pipelines.tensorflow import TensorFlowDataset

        return TensorFlowDataset(info, source, data)
    from encnet_jax.data.pipelines.pillow import PillowDataset

    return PillowDataset(info, source, data)


def _open_source(info: DatasetInfo, data: Any) -> Any:
    """Opens the prepared records or the .npz files of a data set.

    The .npz files are read if they exist and data.reader is 'arrays'. In all other
    cases, the prepared records are read.
    """
    from encnet_jax.data.sources import npz
    from encnet_jax.data.sources.decode import image_rules
    from encnet_jax.data.sources.prepared import PreparedSource, is_prepared

    if data.reader == "arrays":
        arrays = npz.exists(info, data.data_dir)
        if arrays or not is_prepared(info, data.data_dir):
            return npz.NpzSource(info, data.data_dir, data.max_file_mib)
    return PreparedSource(info, data.data_dir, image_rules(data))
