"""Reads CIFAR-10 into memory.

`read_tfds` and `read_records` read the files that TFDS wrote: `read_tfds` uses TFDS and
TensorFlow, `read_records` uses neither. `read_arrays` reads .npz files.
"""

import os

import numpy as np
from etils import epath

from encnet_jax.data.sources import array_records, npz, tensorflow_import
from encnet_jax.data.sources.decode import DEFAULT_RULES, decode_image
from encnet_jax.data.sources.info import DatasetInfo
from encnet_jax.data.sources.tensorflow_import import (
    prepared_builder,
    tensorflow,
    tensorflow_datasets,
)
from encnet_jax.errors import UserError
from encnet_jax.storage import lookup, npz_file, outputs

_SPLITS = ("train", "test")
_SIDE = 32  # Pixels.


def read_tfds(info: DatasetInfo, data_dir: str) -> dict:
    """Reads CIFAR-10 with TFDS; the examples keep the order of the stored records.

    Returns:
        {split: (images uint8[N, 32, 32, 3], class ids uint8[N])} for 'train' and
        'test'.

    Raises:
        UserError: the data set is not prepared in data_dir, or TFDS is not installed.
    """
    builder, tfds = prepared_builder(info, data_dir), tensorflow_datasets()
    autotune = tensorflow().data.AUTOTUNE
    splits = {}
    for split in _SPLITS:
        records = builder.as_dataset(
            split=split, decoders={"image": tfds.decode.SkipDecoding()}
        )
        count = builder.info.splits[split].num_examples
        decoded = records.map(_decode, num_parallel_calls=autotune).batch(count)
        images, labels = next(decoded.as_numpy_iterator())
        splits[split] = _checked(images, labels, f"{builder.data_path}, {split}")
    return splits


def _decode(record: dict) -> tuple:
    tf = tensorflow()
    label = tf.cast(record["label"], tf.uint8)
    return tensorflow_import.decode_image(record["image"]), label


def read_arrays(info: DatasetInfo, data_dir: str, max_mib: float) -> dict:
    """Reads CIFAR-10 from data_dir/cifar10/train.npz and test.npz.

    If an .npz file is missing, reads the files that TFDS wrote.

    Args:
        info: the DatasetInfo of CIFAR-10.
        data_dir: folder of prepared data sets; ~ is expanded.
        max_mib: limit on the size of one unpacked array in MiB.

    Returns:
        {split: (images uint8[N, 32, 32, 3], class ids uint8[N])} for 'train' and
        'test'.

    Raises:
        UserError: an .npz file is missing and TFDS has not prepared CIFAR-10; or a file
            is broken or has unexpected arrays.
    """
    files = {split: _npz(info, data_dir, split) for split in _SPLITS}
    missing = [file for file in files.values() if not lookup.exists(file)]
    if missing and array_records.prepared_by_tfds(info, data_dir):
        return read_records(info, data_dir)
    if missing:
        raise UserError(
            f"{info.name} is not available: found neither {missing[0]} nor records"
            " written by TFDS; on a machine with TensorFlow,"
            f" {info.how_to_prepare(data_dir)} and copy the folder {info.name} to this"
            " machine, or run python -m encnet_jax.data.export_arrays"
            f" {info.name} --data_dir {data_dir} and copy its .npz files"
        )
    return {s: _checked(*_load(f, max_mib), str(f)) for s, f in files.items()}


def read_records(info: DatasetInfo, data_dir: str) -> dict:
    """Reads the files that TFDS wrote, without TensorFlow or TFDS.

    Returns:
        {split: (images uint8[N, 32, 32, 3], class ids uint8[N])} for 'train' and
        'test'.

    Raises:
        UserError: the data set is not prepared in data_dir, or is broken.
    """
    folder, stored = array_records.open_prepared(info, data_dir, in_memory=True)
    splits = {}
    for split in _SPLITS:
        where = f"{folder}, {split}"
        try:
            records = [stored[split][i] for i in range(len(stored[split]))]
            labels = np.array([record["label"] for record in records], np.uint8)
        except Exception as error:  # array_record raises errors of many kinds.
            raise UserError(
                f"{where}: cannot be read ({type(error).__name__}: {error}); remove the"
                f" folder, then {info.how_to_prepare(data_dir)}"
            ) from None
        images = [decode_image(x["image"], where, DEFAULT_RULES) for x in records]
        splits[split] = _checked(np.stack(images), labels, where)
    return splits


def _load(file: epath.Path, max_mib: float) -> tuple[np.ndarray, np.ndarray]:
    arrays = npz.load(file, "the arrays 'images' and 'labels'", max_mib)
    if not {"images", "labels"} <= set(arrays):
        names = ", ".join(map(repr, arrays))
        raise UserError(
            f"{file}: has {f'the arrays {names}' if names else 'no arrays'}; expected"
            " the arrays 'images' and 'labels'; write the file again with python -m"
            " encnet_jax.data.export_arrays"
        )
    return arrays["images"], arrays["labels"]


def _npz(info: DatasetInfo, data_dir: str, split: str) -> epath.Path:
    return epath.Path(os.path.expanduser(data_dir)) / info.name / f"{split}.npz"


def _checked(images: np.ndarray, labels: np.ndarray, where: str):
    fits = images.dtype == labels.dtype == np.uint8
    fits = fits and images.shape[1:] == (_SIDE, _SIDE, 3)
    if not fits or labels.shape != images.shape[:1] or labels.max(initial=0) > 9:
        raise UserError(
            f"{where}: found images {images.dtype}{list(images.shape)} and labels"
            f" {labels.dtype}{list(labels.shape)} with values up to"
            f" {labels.max(initial=0)}; expected images uint8[N, 32, 32, 3] and labels"
            " uint8[N] with values up to 9"
        )
    return images, labels


def export(info: DatasetInfo, data_dir: str) -> list[str]:
    """Converts CIFAR-10 from the files that TFDS wrote to .npz files.

    Returns:
        The paths of the .npz files.

    Raises:
        UserError: the data set is not prepared, or an .npz file already exists.
    """
    targets = {split: _npz(info, data_dir, split) for split in _SPLITS}
    for file in targets.values():
        if file.exists():
            raise UserError(f"{file} already exists; remove the file to export again")
    with outputs.all_or_none() as written:
        for split, (images, labels) in read_records(info, data_dir).items():
            file = targets[split]
            file.parent.mkdir(parents=True, exist_ok=True)
            npz_file.write(file, {"images": images, "labels": labels})
            written.append(file)
    return [str(file) for file in targets.values()]
