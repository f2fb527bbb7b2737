"""Writes a run's scalars and images for TensorBoard, locally or to an object store."""

import io
import os
import secrets
import time
from typing import Any

import numpy as np
from etils import epath
from tensorboardX import event_file_writer, record_writer, summary
from tensorboardX.proto import event_pb2

from encnet_jax import storage
from encnet_jax.storage import outputs

TABLE = "scalars.csv"
_FLUSH_EVERY_S = 60


class EventFile:
    """Writes a TensorBoard file and scalars.csv.

    tensorboardX's SummaryWriter is not used, because it writes in a thread: if the
    thread fails, for example because the disk is full, the run waits forever.
    """

    def __init__(self, workdir: str):
        """Creates a TensorBoard file in WORKDIR, and opens WORKDIR/scalars.csv.

        Raises:
            OSError: a file cannot be written. Every method may raise this error.
        """
        for scheme in ("gs", "s3", "az"):
            record_writer.register_writer_factory(scheme, _Remote)
        record_writer.directory_check(workdir)
        prefix = os.path.join(workdir, "events")
        # A restart in the same second must not overwrite the previous file.
        suffix = f".{secrets.token_hex(4)}"
        self._file = event_file_writer.EventsWriter(prefix, suffix)
        self._flushed = 0.0
        self._table = _open_table(workdir)

    def scalar(self, step: int, name: str, value: float) -> None:
        """Writes a number to the TensorBoard file and to scalars.csv."""
        self._table.write(f"{step},{name},{float(value)!r}\n".encode())
        self._write(step, summary.scalar(name, value))

    def picture(self, step: int, name: str, image: np.ndarray) -> None:
        """Writes a uint8[H, W, 3] image to the TensorBoard file."""
        self._write(step, summary.image(name, image, dataformats="HWC"))

    def _write(self, step: int, content) -> None:
        event = event_pb2.Event(wall_time=time.time(), step=step, summary=content)
        self._file.write_event(event)
        if time.monotonic() - self._flushed > _FLUSH_EVERY_S:
            self._file.flush()
            self._table.flush()
            self._flushed = time.monotonic()

    def close(self) -> None:
        """Writes the buffered records, and closes both files."""
        self._file.close()
        self._table.close()


def _open_table(workdir: str):
    """Opens WORKDIR/scalars.csv to append rows.

    If a resumed run repeats a step, the table contains two values of each scalar. If
    scalars.csv is a symbolic link, a file replaces the link, and the link's target
    stays unchanged.
    """
    path = epath.Path(workdir) / TABLE
    remote = storage.is_remote(path)
    if not remote and os.path.islink(path):
        path.unlink()
    old = storage.read_bytes(path) if path.exists() else b""
    table: Any = _Remote(str(path))
    if not remote:
        table = open(path, "ab", opener=storage.without_links)
    if remote or not old:
        table.write(old or outputs.SCALARS_HEAD)
    if old and not old.endswith(b"\n"):  # The last process was killed while writing.
        table.write(b"\n")
    return table


class _Remote:
    """A file in an object store, written through epath.

    tensorboardX's own writers are not used, because they require an additional package
    for each type of object store.
    """

    def __init__(self, path: str):
        self._path, self._content = epath.Path(path), io.BytesIO()

    @classmethod
    def open(cls, path: str) -> "_Remote":
        return cls(path)

    @staticmethod
    def directory_check(path: str) -> None:
        """Does nothing: object stores have no folders to create."""

    def write(self, data: bytes) -> None:
        self._content.write(data)

    def flush(self) -> None:
        # Objects cannot be appended to: the whole content is written again.
        try:
            self._path.write_bytes(self._content.getvalue())
        except OSError as error:  # The error may lack the path.
            if error.filename is None:
                error.filename = str(self._path)
            raise

    def close(self) -> None:
        self.flush()
