"""Reads scalars from the TensorBoard files of a run."""

from etils import epath
from google.protobuf.message import DecodeError
from tensorboardX.proto import event_pb2

from encnet_jax import storage
from encnet_jax.errors import UserError
from encnet_jax.storage import lookup, tfrecord


def read_scalars(workdir: str) -> dict[str, dict[int, float]]:
    """Returns the scalars in the TensorBoard files of a run.

    This function does not import TensorFlow, which would reserve all accelerators.

    Returns:
        {name: {step: value}}, with ascending steps. If a resumed run repeated a step,
        the value from the repetition is returned.

    Raises:
        UserError: there are no files, or a file is damaged.
    """
    files = lookup.matching(workdir, "events.out.tfevents.*")
    if not files:
        raise UserError(
            f"{workdir} has no TensorBoard files: give the workdir of a run"
        )
    scalars: dict[str, dict[int, float]] = {}
    for file in files:
        for record in tfrecord.records(storage.read_bytes(file)):
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
