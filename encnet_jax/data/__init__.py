"""Data sets: what they are, where they lie, and how batches come out of them."""

from typing import Any

from encnet_jax import storage
from encnet_jax.data.catalogue import IGNORE_ID, DatasetInfo, dataset_info
from encnet_jax.data.dataset import Dataset
from encnet_jax.errors import UserError

__all__ = ["IGNORE_ID", "Dataset", "DatasetInfo", "dataset_info", "open_dataset"]


def open_dataset(data: Any) -> Dataset:
    """Opens the data set of a configuration.

    Args:
        data: The `data` fields of encnet_jax.config.defaults.

    Raises:
        UserError: it is unknown, not prepared, out of reach, or (reader 'tfds')
            TensorFlow is not installed.
    """
    storage.check_there(data.data_dir)
    info = dataset_info(data)
    if info.task == "classification":
        return _open_images(info, data)
    if data.reader == "arrays":
        return _open_arrays(info, data)
    if data.reader != "tfds":
        raise UserError(f"data.reader is {data.reader!r}; wanted 'tfds' or 'arrays'")
    from encnet_jax.data import pipeline, sources

    if info.name == "folder":
        source = sources.FolderSource(info, data.folder)
    else:
        source = sources.TfdsSource(info, data.data_dir)
    return pipeline.TfDataDataset(info, source, data)


def _open_images(info: DatasetInfo, data: Any) -> Dataset:
    from encnet_jax.data import cifar, discs, image_files, image_folder, image_set

    if info.name in ("image_folder", "imagenet2012"):
        if info.name == "image_folder":
            source = image_folder.ClassFolders(info, data)
        else:
            source = image_files.TfdsImages(info, data.data_dir)
        return image_files.ImageFiles(info, source, data)
    if info.name == "cifar10":
        return cifar.open_cifar(info, data)
    splits = {split: discs.generate(split) for split in discs.NUM_IMAGES}
    arrays = image_set.ImageArrays(image_set.with_validation(splits))
    return image_set.ImageSet(info, arrays, data)


def _open_arrays(info: DatasetInfo, data: Any) -> Dataset:
    from encnet_jax.data import arrays, sources

    if info.name == "folder":
        source = sources.FolderSource(info, data.folder)
    elif info.name == "scenes":
        source = arrays.ScenesSource()
    else:
        source = arrays.NpzSource(info, data.data_dir)
    return arrays.ArraysDataset(info, source, data)
