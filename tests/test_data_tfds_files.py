"""Files that TFDS prepared, read without TensorFlow and TFDS."""

import json
import struct

import numpy as np
import pytest
from array_record.python import array_record_module

from encnet_jax.config import defaults
from encnet_jax.data import open_dataset, sets
from encnet_jax.data.export_arrays import export_arrays
from encnet_jax.data.sources import cifar, decode
from encnet_jax.errors import UserError


def varint(number):
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def field(number, payload):
    """A length-delimited field of a protocol buffer."""
    return bytes([number << 3 | 2]) + varint(len(payload)) + payload


def example(image, label):
    """A serialised tf.train.Example: a PNG and an integer."""
    features = {b"image": field(1, field(1, decode.encode_png(image)))}
    features[b"label"] = field(3, field(1, varint(label)))
    entries = (field(1, k) + field(2, v) for k, v in features.items())
    return field(1, b"".join(field(1, entry) for entry in entries))


def prepare(root, name, version, splits, file_format):
    """Writes {split: [shard: [example]]} as TFDS does; returns the folder."""
    folder = root / name / version
    folder.mkdir(parents=True)
    for split, shards in splits.items():
        for i, examples in enumerate(shards):
            file = f"{name}-{split}.{file_format}-{i:05d}-of-{len(shards):05d}"
            if file_format == "array_record":
                path = str(folder / file)
                writer = array_record_module.ArrayRecordWriter(path, "group_size:1")
                for each in examples:
                    writer.write(each)
                writer.close()
            else:
                framed = (
                    struct.pack("<QI", len(x), 0) + x + bytes(4) for x in examples
                )
                (folder / file).write_bytes(b"".join(framed))
    stored = [
        {"name": split, "shardLengths": [str(len(x)) for x in shards]}
        for split, shards in splits.items()
    ]
    info = {"name": name, "fileFormat": file_format, "splits": stored}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return folder


def images(count, side, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, side, side, 3), np.uint8)


def data_of(name, root, **fields):
    data = defaults.get_config().data
    data.update({"name": name, "data_dir": str(root), **fields})
    return data


@pytest.fixture
def small_cifar(tmp_path):
    """(data_dir, images, labels) of 30 training images in two shards, 10 for tests."""
    shown, labels = images(40, 32), np.arange(40) % 10
    files = [example(*pair) for pair in zip(shown, labels, strict=True)]
    old = prepare(tmp_path, "cifar10", "3.0.2", {"train": [files[:1]]}, "tfrecord")
    splits = {"train": [files[:20], files[20:30]], "test": [files[30:]]}
    new = prepare(tmp_path, "cifar10", "3.0.10", splits, "tfrecord")
    assert old.exists() and new.exists()
    return tmp_path, shown, labels


def test_cifar_is_read_from_the_newest_files_of_tfds(small_cifar):
    root, shown, labels = small_cifar
    source = open_dataset(data_of("cifar10", root, reader="arrays")).source
    for split, part in (("train", slice(30)), ("test", slice(30, 40))):
        for ours, theirs in zip(source.arrays(split), (shown, labels), strict=True):
            np.testing.assert_array_equal(ours, theirs[part])
    export_arrays("cifar10", data_dir=str(root))
    source = open_dataset(data_of("cifar10", root, reader="arrays")).source
    np.testing.assert_array_equal(source.arrays("test")[0], shown[30:])


def test_truncated_files_are_reported(small_cifar):
    root, _, _ = small_cifar
    file = root / "cifar10/3.0.10/cifar10-train.tfrecord-00001-of-00002"
    file.write_bytes(file.read_bytes()[:-9])
    found = "has 9 records; expected 10.*; remove the folder, then run tfds build"
    with pytest.raises(UserError, match=f"3.0.10: cannot be read .*{found} cifar10"):
        open_dataset(data_of("cifar10", root, reader="arrays"))


def test_imagenet_is_read_from_array_records(tmp_path):
    shown, labels = images(5, 40), [0, 999, 127, 128, 300]
    files = [example(*pair) for pair in zip(shown, labels, strict=True)]
    splits = {"train": [files[:2], files[2:3]], "validation": [files[3:]]}
    folder = prepare(tmp_path, "imagenet2012", "5.1.0", splits, "array_record")
    data = data_of("imagenet2012", tmp_path, crop_size=32)
    data.augment.base_size = 40
    source = open_dataset(data).source
    assert source.sizes() == {"train": 3, "validation": 2}
    for index in range(5):
        split, at = ("train", index) if index < 3 else ("validation", index - 3)
        read = source.example(split, at)
        assert read.name == f"{split}_{at:07d}" and read.label.dtype == np.int32
        assert int(read.label) == labels[index]
        np.testing.assert_array_equal(read.image, shown[index])
    info = json.loads((folder / "dataset_info.json").read_text())
    (folder / "dataset_info.json").write_text(json.dumps(info | {"splits": []}))
    with pytest.raises(UserError, match="missing splits: train, validation"):
        open_dataset(data)


def test_imagenet_in_tfrecords_or_absent_is_refused(tmp_path):
    data = data_of("imagenet2012", tmp_path, crop_size=32)
    with pytest.raises(UserError, match="found no file VERSION/.*tfds build image"):
        open_dataset(data)
    splits = {"train": [[]], "validation": [[]]}
    prepare(tmp_path, "imagenet2012", "5.1.0", splits, "tfrecord")
    message = "tfrecord; expected array_record.*--file_format"
    with pytest.raises(UserError, match=message):
        open_dataset(data)


@pytest.mark.slow
@pytest.mark.tf
def test_cifar_equals_that_of_tfds(reference_dir):
    info, root = sets.named_info("cifar10"), str(reference_dir / "data/tfds")
    ours, theirs = cifar.read_records(info, root), cifar.read_tfds(info, root)
    for split, arrays in theirs.items():
        for own, expected in zip(ours[split], arrays, strict=True):
            assert own.dtype == expected.dtype == np.uint8
            np.testing.assert_array_equal(own, expected)
