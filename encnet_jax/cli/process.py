"""Runs a command: prints user errors as one line, and sets the exit status."""

import contextlib
import errno
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn, TextIO

from encnet_jax import storage
from encnet_jax.errors import (
    DISK_FULL,
    PeersMissingError,
    UserError,
    is_out_of_memory,
    printable,
)

# Errors of the machine whose messages contain no file name.
_KNOWN = (*DISK_FULL, errno.EMFILE, errno.ENFILE)
# Message of collectives on CPUs if another process has ended.
_LOST_PEER = re.compile(r"gloo.*(closed|reset) by peer", re.IGNORECASE | re.DOTALL)


def start(main: Callable[[Sequence[str]], int | None]) -> NoReturn:
    """Runs a command, then ends the process with os._exit.

    A normal exit takes seconds longer and can hang, because background threads of
    tf.data and Orbax may never end. In a distributed run, each process first waits for
    the other processes, because JAX aborts processes that are still running when
    process 0 ends.
    """
    _keep_streams()
    _end_soon_when_interrupted()
    status = run(main, sys.argv)
    if _joined():
        sys.modules["jax"].distributed.shutdown()
    _leave(status)


class _Stream:
    """An output stream that ignores a full disk and a closed terminal.

    After such an error, all further output is dropped. Other errors, such as a closed
    pipe, are raised.

    Attributes:
        full: the error if the disk was full, otherwise None; `run` reports this error
            when the command ends.
    """

    def __init__(self, stream: TextIO):
        self._stream = stream
        self.full: OSError | None = None

    def __getattr__(self, name: str):
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Writes a text; drops the text if an earlier write has failed."""
        # Escapes control characters, because file names must not control the terminal.
        shown = printable(text, keep="\t\n\r")
        return self._try(lambda: self._stream.write(shown), len(text))

    def writelines(self, lines: Iterable[str]) -> None:
        """Writes several texts; drops them if an earlier write has failed."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flushes the stream; does nothing if an earlier write has failed."""
        self._try(self._stream.flush, None)

    def _try(self, action, otherwise):
        try:
            return action()
        except OSError as error:
            if error.errno in DISK_FULL:
                self.full = error
            elif error.errno not in (errno.EIO, errno.EBADF, errno.ENXIO):
                raise
            self._stream = open(os.devnull, "w")
            return otherwise


def _keep_streams() -> None:
    """Replaces sys.stdout and sys.stderr with `_Stream` objects.

    Closed standard streams are connected to os.devnull; otherwise the next opened file
    would get the descriptor of a standard stream, and receive messages of libraries.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # Gets the lowest free number.
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if number == 0 else "w"))
    sys.stdout, sys.stderr = _Stream(sys.stdout), _Stream(sys.stderr)


# Seconds from Ctrl-C to the message, if the main thread is busy; and from the message
# to the end of the process.
_ANSWER_S, _GRACE_S = 0.3, 3.0


def _end_soon_when_interrupted() -> None:
    """Ends the process within seconds of Ctrl-C, even while the main thread compiles.

    Another thread waits for the signal, because Python runs signal handlers only in the
    main thread. Commands that handle Ctrl-C themselves use pods.signals.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    def listen() -> None:
        while number := os.read(reader, 1):
            if number[0] == signal.SIGINT:
                time.sleep(_ANSWER_S)
                line = f"Ctrl-C: ending within {_GRACE_S:g} s"
                print(line, file=sys.stderr, flush=True)
                time.sleep(_GRACE_S)
                _report("interrupted")
                os._exit(130)

    threading.Thread(target=listen, daemon=True).start()


def run(main: Callable[[Sequence[str]], int | None], argv: Sequence[str]) -> int:
    """Runs main(argv), prints errors, and returns the exit status.

    A UserError, or an error of the machine such as a full disk, is printed as one line.
    All other errors are printed with a traceback. In a distributed run, a process that
    fails ends at once with os._exit, because a normal exit would wait for the other
    processes.
    """
    # Printing file names with undecodable bytes must not fail.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        status = main(argv) or 0
        if sys.stdout is not None:
            sys.stdout.flush()
        full = getattr(sys.stdout, "full", None) or getattr(sys.stderr, "full", None)
        if full and not status:
            raise UserError(f"the output is incomplete: {storage.describe(full)}")
        return status
    except UserError as error:
        _report(str(error))
        status = error.exit_status
    except KeyboardInterrupt:
        _report("interrupted")
        status = 130
    except BrokenPipeError:
        # The reader of the output, such as `head`, has ended: prints nothing more.
        sys.stdout = open(os.devnull, "w")
        status = 141
    except Exception as error:
        status = _unexpected(error)
    if _joined():
        _leave(status)
    return status


def _report(line: str) -> None:
    """Prints an error as one line; does nothing if standard error is closed."""
    with contextlib.suppress(OSError, ValueError):
        print(f"error: {printable(line)}", file=sys.stderr, flush=True)


def _unexpected(error: Exception) -> int:
    """Prints an error that is not a UserError; returns the exit status."""
    reason = _of_the_machine(error)
    if reason:
        _report(reason)
        return UserError.exit_status
    if _joined() and _LOST_PEER.search(str(error)):
        _report(
            "another process of the run ended (the reason is in the output of that"
            " process); start the command again on every host to resume from the newest"
            " checkpoint"
        )
        return PeersMissingError.exit_status
    traceback.print_exc()
    if _joined():
        _report(
            "this process failed, perhaps because another process of the run ended;"
            " start the command again on every host to resume from the newest"
            " checkpoint"
        )
    return 1


def _of_the_machine(error: Exception) -> str | None:
    """Returns a one-line message for an error of the machine, None for other errors.

    Such errors concern disks, permissions, object stores, memory, devices, or JAX's
    environment variables.
    """
    text = " ".join(str(error).split())
    if _is_of_jax_import(error):
        names = sorted(x for x in os.environ if x.startswith(("JAX_", "XLA_")))
        return (
            f"JAX cannot be imported ({type(error).__name__}: {text[:200]}); correct or"
            f" unset the environment variables {', '.join(names) or 'of JAX'}"
        )
    if isinstance(error, OSError) and (error.filename or error.errno in _KNOWN):
        return storage.describe(error)
    if "can't start new thread" in text:
        return (
            "no further thread can be started; raise the limits on processes and on"
            " the address space (ulimit -u, ulimit -v)"
        )
    if isinstance(error, FileNotFoundError) and "temporary directory" in text:
        return f"{text}; free space in one of them, or set TMPDIR to another folder"
    if storage.is_of_store(error):
        return (
            f"the object store refused the request or failed ({type(error).__name__}:"
            f" {text[:200]}); check your access and the network, then start the same"
            " command again"
        )
    if isinstance(error, MemoryError):
        return (
            f"the host has too little memory ({text[:200] or 'MemoryError'}); end other"
            " programs, or use smaller images and files"
        )
    if is_out_of_memory(error):
        return (
            f"out of memory ({text[:200] or 'on the host'}); lower train.batch_size,"
            " data.crop_size or eval.batch_size, set model.remat to True, or use a"
            " device with more memory"
        )
    platforms = os.environ.get("JAX_PLATFORMS")
    if platforms and isinstance(error, (AssertionError, RuntimeError)):
        if not _has_devices():
            return (
                f"JAX finds no device for JAX_PLATFORMS={platforms}"
                f" ({text[:200] or type(error).__name__}); unset JAX_PLATFORMS, or"
                " install JAX for this platform"
            )
    return None


def _is_of_jax_import(error: Exception) -> bool:
    """Returns whether an error was raised while JAX was being imported."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return not isinstance(error, ImportError) and any(
        frame.f_code.co_name == "<module>"
        and str(frame.f_globals.get("__name__")).partition(".")[0] == "jax"
        for frame in frames
    )


def _has_devices() -> bool:
    jax = sys.modules.get("jax")
    try:
        return jax is None or bool(jax.devices())
    except Exception:  # JAX raises errors of several types, even AssertionError.
        return False


def _leave(status: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(status)


def _joined() -> bool:
    jax = sys.modules.get("jax")  # After a mistyped flag, JAX is not imported.
    return jax is not None and jax.distributed.is_initialized()
