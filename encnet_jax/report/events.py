"""Reads the scalars in a run's TensorBoard files."""

import struct
from collections.abc import Iterator

from etils import epath
from google.protobuf.message import DecodeError
from tensorboardX.proto import event_pb2

from encnet_jax import storage
from encnet_jax.errors import UserError


def read_scalars(workdir: str) -> dict[str, dict[int, float]]:
    """Reads the TensorBoard files of a run, in the order in which they were written.

    TensorBoard's own reader imports TensorFlow, which reserves all accelerators.

    Returns:
        name -> {step: value}, steps ascending; the last value of a step that a resumed
        run repeated.

    Raises:
        UserError: there are no files, or one is damaged.
    """
    files = sorted(epath.Path(workdir).glob("events.out.tfevents.*"))
    if not files:
        raise UserError(
            f"{workdir} has no TensorBoard files: give the workdir of a run"
        )
    scalars: dict[str, dict[int, float]] = {}
    for file in files:
        for record in _records(storage.read_bytes(file)):
            event = _event(file, record)
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    scalars.setdefault(value.tag, {})[event.step] = value.simple_value
    return {name: dict(sorted(values.items())) for name, values in scalars.items()}


def _event(file: epath.Path, record: bytes) -> event_pb2.Event:
    try:
        return event_pb2.Event.FromString(record)
    except DecodeError:
        raise UserError(
            f"{file}: a record is damaged; restore or remove the file"
        ) from None


def _records(data: bytes) -> Iterator[bytes]:
    """Yields the records of a file: length u64, checksum, record, checksum."""
    start = 0
    while start + 12 <= len(data):
        (length,) = struct.unpack_from("<Q", data, start)
        end = start + 12 + length
        if end + 4 > len(data):
            return  # A running job is still writing this record.
        yield data[start + 12 : end]
        start = end + 4
