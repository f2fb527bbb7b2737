"""Reads MATLAB version 5 files; errors of SciPy and h5py become UserError."""

import contextlib
import io
from collections.abc import Iterator

import numpy as np

from encnet_jax.data.archives.file_tree import StoredFile
from encnet_jax.errors import UserError


def variables(file: StoredFile, *names: str) -> dict[str, np.ndarray]:
    """Returns variables of a MATLAB file.

    Raises:
        UserError: the file cannot be read, or lacks a variable.
    """
    import scipy.io

    with described(str(file)):
        contents = scipy.io.loadmat(io.BytesIO(file.read()), variable_names=names)
        return {name: contents[name] for name in names}


@contextlib.contextmanager
def described(file: str) -> Iterator[None]:
    """Converts errors of SciPy and h5py to a one-line error with the file's name."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # Damaged files raise errors of many kinds.
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"{file}: cannot be read ({reason}); download the file again"
        ) from None
