"""Data sets: what they are, where they are, and how batches are read from them."""

from typing import Any

from encnet_jax import storage
from encnet_jax.data.catalogue import dataset_info
from encnet_jax.data.dataset import Dataset
from encnet_jax.data.info import DatasetInfo
from encnet_jax.errors import UserError

__all__ = ["Dataset", "DatasetInfo", "dataset_info", "open_dataset"]


def open_dataset(data: Any) -> Dataset:
    """Opens the data set of a configuration.

    Args:
        data: The `data` fields of encnet_jax.config.defaults.

    Raises:
        UserError: it is unknown, not prepared, out of reach, or (reader 'tfds')
            TensorFlow is not installed.
    """
    storage.check_exists(data.data_dir)
    info = dataset_info(data)
    if info.task == "classification":
        return _open_images(info, data)
    if data.reader == "arrays":
        return _open_arrays(info, data)
    if data.reader != "tfds":
        raise UserError(f"data.reader is {data.reader!r}; wanted 'tfds' or 'arrays'")
    from encnet_jax.data import pipeline_tensorflow

    source = _record_source(info, data)
    return pipeline_tensorflow.TensorFlowDataset(info, source, data)


def _open_images(info: DatasetInfo, data: Any) -> Dataset:
    from encnet_jax.data import cifar, discs, image_files, image_folder, image_set
    from encnet_jax.data.decode import image_rules

    if info.name in ("image_folder", "imagenet2012"):
        if info.name == "image_folder":
            source = image_folder.ClassFolders(info, data)
        else:
            source = image_files.TfdsImages(info, data.data_dir, image_rules(data))
        return image_files.ImageFiles(info, source, data)
    if info.name == "cifar10":
        return cifar.open_cifar(info, data)
    splits = {split: discs.generate(split) for split in discs.NUM_IMAGES}
    arrays = image_set.ImageArrays(image_set.with_validation(splits))
    return image_set.ImageSet(info, arrays, data)


def _open_arrays(info: DatasetInfo, data: Any) -> Dataset:
    from encnet_jax.data import npz, pipeline_pillow

    if info.name in ("folder", "scenes"):
        source = _record_source(info, data)
    else:
        source = npz.NpzSource(info, data.data_dir, data.max_file_mib)
    return pipeline_pillow.PillowDataset(info, source, data)


def _record_source(info: DatasetInfo, data: Any):
    from encnet_jax.data import sources
    from encnet_jax.data.decode import image_rules

    if info.name == "scenes":
        return sources.ScenesSource(info)
    if info.name == "folder":
        return sources.FolderSource(info, data.folder, image_rules(data))
    return sources.TfdsSource(info, data.data_dir, image_rules(data))
