"""Errors that the user can fix, and the exit status of each."""

import contextlib
import errno
import re
from collections.abc import Iterator

# Values of errno for: no space left, quota exceeded, file too large.
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


# Control characters, characters that change the text direction, and undecodable bytes
# of file names.
_CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: object, keep: str = "") -> str:
    """Returns a text with control characters replaced by escapes such as \\x1b.

    File names may contain control characters, but a printed name must not add lines to
    a log or send commands to a terminal.

    Args:
        text: the text to print.
        keep: characters that are not escaped.
    """

    def escaped(match: re.Match) -> str:
        return match[0] if match[0] in keep else ascii(match[0])[1:-1]

    return _CONTROL.sub(escaped, str(text))


def short(value: object, most: int = 200) -> str:
    """Returns repr(value) for a message, cut after `most` characters."""
    # Formats only the beginning of a long list or text, to save time.
    if isinstance(value, (str, bytes, list, tuple)) and len(value) > most:
        value = value[:most]
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}..."


def reason(error: BaseException, most: int = 200) -> str:
    """Returns the message of another library's error on one line.

    Args:
        error: the error.
        most: largest number of characters; longer messages are truncated.
    """
    return " ".join(str(error).split())[:most] or type(error).__name__


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error means that the host or a device ran out of memory.

    JAX and the loader of shared libraries have no exception type for this error, so the
    text of the message is searched.
    """
    signs = ("RESOURCE_EXHAUSTED", "failed to map segment")
    return isinstance(error, MemoryError) or any(sign in str(error) for sign in signs)


class UserError(Exception):
    """An error that the user can fix; printed as one line, never as a traceback.

    The message states what was found, what was expected, and how to fix it.
    """

    exit_status = 2


@contextlib.contextmanager
def explained(file: object, problem: str, advice: str) -> Iterator[None]:
    """Converts errors of a `with` block to UserError('FILE: PROBLEM (REASON); ADVICE').

    For use around decoders, which raise errors of many types for damaged files. FILE,
    PROBLEM and ADVICE are the arguments; REASON is the message of the original error.
    A UserError passes through unchanged.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{file}: {problem} ({reason(error)}); {advice}") from None


class NotFiniteError(UserError):
    """The loss became NaN or infinite; the last good checkpoint is kept."""

    exit_status = 3


class PeersMissingError(UserError):
    """A process of a distributed run did not join in time, or was lost."""

    exit_status = 4


class UnsavedError(UserError):
    """A checkpoint could not be written; the writing threads may still be running."""
