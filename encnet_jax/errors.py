"""Errors that are the user's to mend, and the exit status of each."""

import errno

# Of an OSError: no space, no quota, a file beyond the limit.
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def is_out_of_memory(error: Exception) -> bool:
    """Whether the host's memory or a device's was too small; JAX has no type for it.

    Nor has the loader of shared libraries, whose ImportError says what it could not do.
    """
    signs = ("RESOURCE_EXHAUSTED", "failed to map segment")
    return isinstance(error, MemoryError) or any(sign in str(error) for sign in signs)


class UserError(Exception):
    """A mistake outside the program; shown as one line, never as a traceback.

    The message says what was found, what was wanted, and how to mend it.
    """

    exit_status = 2


class NotFiniteError(UserError):
    """The loss became NaN or infinite; the last good checkpoint stays."""

    exit_status = 3


class PeersMissingError(UserError):
    """Other processes of a distributed run did not appear in time, or one was lost."""

    exit_status = 4


class UnsavedError(UserError):
    """A checkpoint could not be written; threads that were writing it remain."""
