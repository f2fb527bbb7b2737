"""The format of TFRecord and TensorBoard files."""

import struct
from collections.abc import Iterator


def records(data: bytes) -> Iterator[bytes]:
    """Yields the complete records of a file; checksums are not compared.

    Args:
        data: contents of the file: for each record its length u64, a checksum, the
            record, a checksum. The last record may be incomplete if a job is running.
    """
    start = 0
    while start + 12 <= len(data):
        (length,) = struct.unpack_from("<Q", data, start)
        end = start + 12 + length
        if end + 4 > len(data):
            return
        yield data[start + 12 : end]
        start = end + 4
