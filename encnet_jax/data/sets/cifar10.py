"""CIFAR-10, read from files that TFDS wrote or from .npz files."""

from typing import Any

from encnet_jax.data.sources.info import DatasetInfo, consecutive_ids, voc_colours


def _open(info: DatasetInfo, data: Any) -> Any:
    from encnet_jax.data.pipelines.image_set import ImageSet
    from encnet_jax.data.sources import cifar
    from encnet_jax.data.sources.image_arrays import ImageArrays, with_validation
    from encnet_jax.data.sources.tensorflow_import import uses_tensorflow

    if uses_tensorflow(data.reader):
        splits = cifar.read_tfds(info, data.data_dir)
    else:
        splits = cifar.read_arrays(info, data.data_dir, data.max_file_mib)
    return ImageSet(info, ImageArrays(with_validation(splits)), data)


DATA_SET = DatasetInfo(
    name="cifar10",
    class_names=(
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    ),
    colours=voc_colours(11)[1:],
    id_map=consecutive_ids(10),
    splits=("train", "train_without_val", "val", "test"),
    source="https://www.cs.toronto.edu/~kriz/cifar.html",
    preparation="run tfds build cifar10 --data_dir DIR, which downloads the data",
    task="classification",
    open_dataset=_open,
)
