"""A run's TensorBoard file, on a disk or in an object store."""

import io
import os
import time

import numpy as np
from etils import epath
from tensorboardX import event_file_writer, record_writer, summary
from tensorboardX.proto import event_pb2

_FLUSH_EVERY_S = 60


class EventFile:
    """Writes in the thread that asks, so that a full disk is this thread's error.

    tensorboardX's SummaryWriter writes in a thread of its own; where that one ends at
    an error, the run waits for it for ever.
    """

    def __init__(self, workdir: str):
        """Starts a new file in a folder.

        Raises:
            OSError: here as in every method, it cannot be written.
        """
        for scheme in ("gs", "s3", "az"):
            record_writer.register_writer_factory(scheme, _Remote)
        record_writer.directory_check(workdir)
        prefix = os.path.join(workdir, "events")
        self._file = event_file_writer.EventsWriter(prefix)
        self._flushed = 0.0

    def scalar(self, step: int, name: str, value: float) -> None:
        """Writes a number."""
        self._write(step, summary.scalar(name, value))

    def picture(self, step: int, name: str, image: np.ndarray) -> None:
        """Writes a uint8[H, W, 3] picture."""
        self._write(step, summary.image(name, image, dataformats="HWC"))

    def _write(self, step: int, content) -> None:
        event = event_pb2.Event(wall_time=time.time(), step=step, summary=content)
        self._file.write_event(event)
        if time.monotonic() - self._flushed > _FLUSH_EVERY_S:
            self._file.flush()
            self._flushed = time.monotonic()

    def close(self) -> None:
        """Writes the rest."""
        self._file.close()


class _Remote:
    """A file in an object store, written through epath as all others are.

    tensorboardX's own writers need one more package for each store.
    """

    def __init__(self, path: str):
        self._path, self._content = epath.Path(path), io.BytesIO()

    @classmethod
    def open(cls, path: str) -> "_Remote":
        return cls(path)

    @staticmethod
    def directory_check(path: str) -> None:
        """Folders come with the files in them."""

    def write(self, data: bytes) -> None:
        self._content.write(data)

    def flush(self) -> None:
        # An object cannot grow.
        self._path.write_bytes(self._content.getvalue())

    def close(self) -> None:
        self.flush()
