"""Records that TFDS wrote as array records, read without TensorFlow and TFDS.

A record is a serialised tf.train.Example, of which only byte strings are decoded here.
"""

import json
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

from etils import epath


class _Shard(NamedTuple):
    """A file, as array_record's FileInstruction."""

    filename: str
    skip: int
    take: int
    examples_in_shard: int


class Records:
    """Random access to the examples of one split, from several threads."""

    def __init__(self, shards: list[_Shard]):
        """Stores its arguments; array_record opens files at the first read."""
        from array_record.python import array_record_data_source

        source: Any = array_record_data_source.ArrayRecordDataSource(shards)
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> dict[str, bytes]:
        return byte_features(self._source[index])


def open_splits(folder: epath.Path) -> dict[str, Records]:
    """Opens the splits of a data set that TFDS prepared.

    Args:
        folder: of one version; contains dataset_info.json.

    Raises:
        ValueError, KeyError, OSError: the folder is not one, or not of array records.
    """
    info = json.loads((folder / "dataset_info.json").read_text())
    if info["fileFormat"] != "array_record":
        raise ValueError(f"records are {info['fileFormat']}, not array_record")
    splits = {}
    for split in info["splits"]:
        lengths = [int(length) for length in split["shardLengths"]]
        prefix = f"{info['name']}-{split['name']}.array_record"
        shards = []
        for number, length in enumerate(lengths):
            file = folder / f"{prefix}-{number:05d}-of-{len(lengths):05d}"
            if not file.exists():
                raise FileNotFoundError(f"{file.name} is missing")
            shards.append(_Shard(os.fspath(file), 0, length, length))
        if shards:
            splits[split["name"]] = Records(shards)
    return splits


def byte_features(example: bytes) -> dict[str, bytes]:
    """Returns the byte strings of a serialised tf.train.Example, by feature.

    Raises:
        ValueError: the bytes are damaged.

    Source: tensorflow/core/example/{example,feature}.proto. Example.features = 1,
    Features.feature = 1 is a map of key = 1 and value = 2, Feature.bytes_list = 1,
    BytesList.value = 1.
    """
    found = {}
    view = memoryview(example)
    for features in _messages(view, 1):
        for entry in _messages(features, 1):
            name = b"".join(_messages(entry, 1)).decode()
            for feature in _messages(entry, 2):
                for values in _messages(feature, 1):
                    found[name] = b"".join(_messages(values, 1))
    return found


def _messages(data: memoryview, number: int) -> Iterator[memoryview]:
    """Yields the length-delimited fields of one number in a protocol buffer."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        kind = key & 7
        if kind == 2:
            length, place = _varint(data, place)
            if place + length > len(data):
                raise ValueError("the record is truncated")
            if key >> 3 == number:
                yield data[place : place + length]
            place += length
        elif kind == 0:
            _, place = _varint(data, place)
        elif kind in (1, 5):
            place += 8 if kind == 1 else 4
        else:
            raise ValueError("the record is not a protocol buffer")


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while place < len(data):
        value |= (data[place] & 0x7F) << shift
        shift += 7
        place += 1
        if data[place - 1] < 0x80:
            return value, place
    raise ValueError("the record is truncated")
