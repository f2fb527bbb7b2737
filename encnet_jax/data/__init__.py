"""Data sets: what they are, where they are, and how batches are read from them."""

from typing import Any

from encnet_jax import storage
from encnet_jax.data.info import DatasetInfo
from encnet_jax.data.pipelines.dataset import Dataset
from encnet_jax.data.sets.catalogue import dataset_info
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
    if info.task == "classification":
        return _open_images(info, data)
    if data.reader == "arrays":
        return _open_arrays(info, data)
    if data.reader != "tfds":
        raise UserError(f"data.reader is {data.reader!r}; expected 'tfds' or 'arrays'")
    from encnet_jax.data.pipelines import tensorflow

    return tensorflow.TensorFlowDataset(info, _record_source(info, data), data)


def _open_images(info: DatasetInfo, data: Any) -> Dataset:
    from encnet_jax.data.pipelines import image_files, image_set
    from encnet_jax.data.sets import discs
    from encnet_jax.data.sources import cifar, class_folders, image_arrays, tfds_images
    from encnet_jax.data.sources.decode import image_rules

    if info.name == "image_folder":
        source = class_folders.ClassFolders(info, data)
        return image_files.ImageFiles(info, source, data)
    if info.name == "imagenet2012":
        source = tfds_images.TfdsImages(info, data.data_dir, image_rules(data))
        return image_files.ImageFiles(info, source, data)
    if info.name == "discs":
        splits = {split: discs.generate(split) for split in discs.NUM_IMAGES}
    elif data.reader == "arrays":
        splits = cifar.read_arrays(info, data.data_dir, data.max_file_mib)
    else:
        splits = cifar.read_tfds(info, data.data_dir)
    arrays = image_arrays.ImageArrays(image_arrays.with_validation(splits))
    return image_set.ImageSet(info, arrays, data)


def _open_arrays(info: DatasetInfo, data: Any) -> Dataset:
    from encnet_jax.data.pipelines import pillow
    from encnet_jax.data.sources import npz

    if info.name in ("folder", "scenes"):
        source = _record_source(info, data)
    else:
        source = npz.NpzSource(info, data.data_dir, data.max_file_mib)
    return pillow.PillowDataset(info, source, data)


def _record_source(info: DatasetInfo, data: Any):
    from encnet_jax.data.sets import scenes
    from encnet_jax.data.sources import folders, prepared
    from encnet_jax.data.sources.decode import image_rules

    if info.name == "scenes":
        return scenes.ScenesSource(info)
    if info.name == "folder":
        return folders.FolderSource(info, data.folder, image_rules(data))
    return prepared.TfdsSource(info, data.data_dir, image_rules(data))
