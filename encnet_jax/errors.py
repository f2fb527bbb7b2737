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
    """Returns a text with control characters replaced with escapes such as \\x1b.

    Otherwise, a file name could add lines to a log or control the terminal.

    Args:
        text: the text to print.
        keep: characters that are not escaped.
    """

    def escaped(match: re.Match) -> str:
        return match[0] if match[0] in keep else ascii(match[0])[1:-1]

    return _CONTROL.sub(escaped, str(text))


def short(value: object, most: int = 200) -> str:
    """Returns repr(value) for a message, truncated to about `most` characters."""
    # Formats only the beginning of a long list or text, to save time.
    if isinstance(value, (str, bytes, list, tuple)) and len(value) > most:
        value = value[:most]
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}..."


def reason(error: BaseException, most: int = 200) -> str:
    """Returns the message of an exception on one line.

    If the message is empty, the name of the exception's type is returned.

    Args:
        error: the exception.
        most: maximum number of characters; longer messages are truncated.
    """
    return " ".join(str(error).split())[:most] or type(error).__name__


def is_out_of_memory(error: Exception) -> bool:
    """Returns whether an error means that the host or a device ran out of memory.

    Errors of JAX and of the loader of shared libraries are recognised by their
    messages, because no exception type is specific to them.
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
    """Converts errors raised in a `with` block to a UserError with a one-line message.

    The message is 'FILE: PROBLEM (REASON); ADVICE', where REASON is the message of the
    original error. A UserError is not converted. Use this around decoders, which raise
    many types of errors for damaged files.

    Args:
        file: FILE in the message.
        problem: PROBLEM in the message.
        advice: ADVICE in the message.
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
