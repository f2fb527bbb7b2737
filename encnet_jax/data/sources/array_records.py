"""Reads data sets that TFDS prepared, without TensorFlow or TFDS.

A stored example is a serialised tf.train.Example. Only its byte strings and integers
are decoded.
"""

import json
import os
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from etils import epath

from encnet_jax import storage
from encnet_jax.data.sources.info import DatasetInfo
from encnet_jax.errors import UserError
from encnet_jax.storage import lookup, tfrecord


class _Shard(NamedTuple):
    """One file of a split; has the same fields as array_record's FileInstruction."""

    filename: str
    skip: int
    take: int
    examples_in_shard: int


class Records:
    """A thread-safe sequence of the examples of one split.

    An example is a dict {feature name: bytes or int}.
    """

    def __init__(self, source: Sequence[bytes]):
        """Stores a sequence of serialised tf.train.Examples."""
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return features(self._source[index])


def prepared_by_tfds(info: DatasetInfo, data_dir: str) -> epath.Path | None:
    """Finds the newest version of a data set that TFDS prepared.

    Args:
        info: the DatasetInfo of the data set.
        data_dir: folder of the data sets that TFDS prepared; ~ is expanded.

    Returns:
        The folder of the newest version, or None if TFDS prepared no version.
    """
    folder = epath.Path(os.path.expanduser(data_dir)) / info.name
    found = lookup.entries(folder) if lookup.is_folder(folder) else ()
    versions = {
        tuple(map(int, path.name.split("."))): path
        for path in found
        if re.fullmatch(r"\d+\.\d+\.\d+", path.name)
        and lookup.exists(path / "dataset_info.json")
    }
    return versions[max(versions)] if versions else None


def open_prepared(
    info: DatasetInfo, data_dir: str, *, in_memory: bool = False
) -> tuple[epath.Path, dict[str, Records]]:
    """Opens the newest version of a data set that TFDS prepared.

    Args:
        info: the DatasetInfo of the data set.
        data_dir: folder of the data sets that TFDS prepared; ~ is expanded.
        in_memory: whether TFRecord files are also accepted; they are read into memory.

    Returns:
        (folder of the newest version, {split: Records}).

    Raises:
        UserError: the data set is not prepared in data_dir, is stored in an unsupported
            format, or is broken.
    """
    folder = prepared_by_tfds(info, data_dir)
    if folder is None:
        raise UserError(
            f"{info.name} is not prepared: found no file VERSION/dataset_info.json in"
            f" {epath.Path(data_dir) / info.name}; {info.how_to_prepare(data_dir)}"
        )
    try:
        splits = open_splits(folder, in_memory=in_memory)
        missing = set(info.splits) - set(splits) if not in_memory else ()
        if missing:
            raise ValueError(f"missing splits: {', '.join(sorted(missing))}")
    except UserError:
        raise
    except Exception as error:  # array_record raises errors of many kinds.
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"{os.fspath(folder)}: cannot be read ({reason}); remove the folder, then"
            f" {info.how_to_prepare(data_dir)}"
        ) from None
    return folder, splits


def open_splits(folder: epath.Path, *, in_memory: bool = False) -> dict[str, Records]:
    """Opens a data set in the file format of TFDS; returns {split: Records}.

    Args:
        folder: folder of one version of the data set; contains dataset_info.json.
        in_memory: whether TFRecord files are also accepted. They are read into memory
            because they have no random access.

    Raises:
        ValueError, KeyError, OSError: the folder is not a prepared data set, or the
            file format is not supported.
    """
    info = json.loads((folder / "dataset_info.json").read_text())
    file_format, splits = info["fileFormat"], {}
    if file_format != "array_record" and (file_format, in_memory) != ("tfrecord", True):
        raise ValueError(f"the file format is {file_format}; expected array_record")
    for split in info["splits"]:
        lengths = [int(length) for length in split["shardLengths"]]
        prefix = f"{info['name']}-{split['name']}.{file_format}"
        shards = []
        for number, length in enumerate(lengths):
            file = folder / f"{prefix}-{number:05d}-of-{len(lengths):05d}"
            if not file.exists():
                raise FileNotFoundError(f"{file.name} is missing")
            shards.append(_Shard(os.fspath(file), 0, length, length))
        if shards and file_format == "tfrecord":
            splits[split["name"]] = Records(_read_whole(shards))
        elif shards:
            from array_record.python import array_record_data_source

            source: Any = array_record_data_source.ArrayRecordDataSource(shards)
            splits[split["name"]] = Records(source)
    return splits


def _read_whole(shards: list[_Shard]) -> list[bytes]:
    examples: list[bytes] = []
    for shard in shards:
        found = list(tfrecord.records(storage.read_bytes(epath.Path(shard.filename))))
        if len(found) != shard.take:
            name = os.path.basename(shard.filename)
            raise ValueError(f"{name} has {len(found)} records; expected {shard.take}")
        examples += found
    return examples


def features(example: bytes) -> dict[str, Any]:
    """Decodes a serialised tf.train.Example to {feature name: bytes or int}.

    Features with floats or with several integers are skipped.

    Raises:
        ValueError: the bytes are truncated or not a protocol buffer.

    Source: tensorflow/core/example/example.proto and feature.proto.
    """
    # Field numbers: Example.features = 1; Features.feature = 1, a map with key = 1 and
    # value = 2; Feature.bytes_list = 1; BytesList.value = 1; Feature.int64_list = 3;
    # Int64List.value = 1, packed.
    found: dict[str, Any] = {}
    view = memoryview(example)
    for every in _messages(view, 1):
        for entry in _messages(every, 1):
            name = b"".join(_messages(entry, 1)).decode()
            for feature in _messages(entry, 2):
                for values in _messages(feature, 1):
                    found[name] = b"".join(_messages(values, 1))
                for values in _messages(feature, 3):
                    packed = memoryview(b"".join(_messages(values, 1)))
                    value, end = _varint(packed, 0) if packed else (None, -1)
                    if end == len(packed):
                        found[name] = value
    return found


def _messages(data: memoryview, number: int) -> Iterator[memoryview]:
    """Yields each length-delimited value of field `number` in a protocol buffer."""
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
