"""Reads the records of TFRecord and TensorBoard files."""

import struct
from collections.abc import Iterator


def records(data: bytes) -> Iterator[bytes]:
    """Yields the complete records of a file; checksums are not verified.

    Args:
        data: contents of the file. Each record is stored as its length (8 bytes), a
            checksum (4 bytes), the record, and another checksum (4 bytes). The last
            record may be incomplete if a job is still writing the file.
    """
    start = 0
    while start + 12 <= len(data):
        (length,) = struct.unpack_from("<Q", data, start)
        end = start + 12 + length
        if end + 4 > len(data):
            return
        yield data[start + 12 : end]
        start = end + 4
