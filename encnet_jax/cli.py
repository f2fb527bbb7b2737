"""Command lines: flags, overrides, and one line for a user's mistake."""

import contextlib
import inspect
import os
import pathlib
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn

from absl import flags
from ml_collections import config_flags

from encnet_jax import config as config_lib
from encnet_jax import storage
from encnet_jax.errors import DISK_FULL, UserError, is_out_of_memory


def start(main: Callable[[Sequence[str]], int | None]) -> NoReturn:
    """Runs a command as the whole of this process, and ends the process.

    After an error the interpreter is not taken down piece by piece: threads of tf.data
    and of unfinished checkpoints may wait for ever for parts of it that are gone.
    """
    status = run(main, sys.argv)
    if status:
        _leave(status)
    sys.exit(0)


def run(main: Callable[[Sequence[str]], int | None], argv: Sequence[str]) -> int:
    """Runs main(argv) and returns its exit status; a mistake becomes one line.

    Errors that are nobody's mistake but the program's get a traceback. One of several
    processes that fails ends here: the interpreter would wait at its exit for the
    others, which know nothing of the failure.
    """
    # Names of files may hold bytes that are no text; printing one must not fail.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        status = main(argv) or 0
        sys.stdout.flush()
        return status
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        status = error.exit_status
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        status = 130
    except BrokenPipeError:
        # What reads our output, such as `head`, has ended; nothing more is printed.
        sys.stdout = open(os.devnull, "w")
        status = 141
    except Exception as error:
        status = _unexpected(error)
    if _joined():
        _leave(status)
    return status


def _unexpected(error: Exception) -> int:
    """Reports what no command raises on purpose; returns the exit status."""
    reason = _of_the_machine(error)
    if reason:
        print(f"error: {reason}", file=sys.stderr)
        return UserError.exit_status
    traceback.print_exc()
    if _joined():
        print(
            "error: one of several processes failed, perhaps because another was lost;"
            " start it again on every host: it goes on from the newest checkpoint",
            file=sys.stderr,
        )
    return 1


def _of_the_machine(error: Exception) -> str | None:
    """Returns one line for an error of disks, rights, memory or devices, or None."""
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and (error.filename or error.errno in DISK_FULL):
        return storage.describe(error)
    if is_out_of_memory(error):
        return (
            f"out of memory ({text[:200] or 'on the host'}); lower train.batch_size,"
            " data.crop_size or eval.batch_size, set model.remat, or use a larger"
            " device"
        )
    platforms = os.environ.get("JAX_PLATFORMS")
    if platforms and isinstance(error, (AssertionError, RuntimeError)):
        if not _has_devices():
            return (
                f"JAX finds none of the devices in JAX_PLATFORMS={platforms}"
                f" ({text[:200] or type(error).__name__}); unset it, or install JAX for"
                " them"
            )
    return None


def _has_devices() -> bool:
    jax = sys.modules.get("jax")
    try:
        return jax is None or bool(jax.devices())
    except Exception:  # JAX raises errors of several kinds, AssertionError among them.
        return False


def _leave(status: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(status)


def _joined() -> bool:
    jax = sys.modules.get("jax")  # A mistyped flag is reported before JAX is imported.
    return jax is not None and jax.distributed.is_initialized()


def define_processes(values: flags.FlagValues) -> None:
    """Defines the flags by which a process finds the others of its run."""
    flags.DEFINE_string(
        "coordinator_address",
        None,
        "HOST:PORT of process 0; not needed on Cloud TPU, SLURM and Open MPI.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "num_processes", None, "Processes of the whole run.", flag_values=values
    )
    flags.DEFINE_integer(
        "process_id", None, "Of this process, from 0.", flag_values=values
    )
    flags.DEFINE_float(
        "peers_timeout_s",
        300.0,
        "Seconds to wait for the other processes.",
        lower_bound=1.0,
        flag_values=values,
    )


def join_processes(values: flags.FlagValues) -> None:
    """Joins the processes that define_processes' flags or the cluster name."""
    from encnet_jax.pods import distributed

    distributed.join(
        values.coordinator_address,
        values.num_processes,
        values.process_id,
        timeout_s=values.peers_timeout_s,
    )


def parse(
    argv: Sequence[str],
    define: Callable[[flags.FlagValues], None],
    *,
    about: str,
    required: Sequence[str] = (),
) -> flags.FlagValues:
    """Parses a command line.

    Args:
        argv: program name and arguments.
        define: defines the command's flags on the FlagValues it is given.
        about: what --help says above the flags: the command's docstring, in which there
            is an example.
        required: flags without which there is nothing to do.

    Raises:
        UserError: an unknown flag, a wrong value, a stray argument or missing flags.
    """
    values = flags.FlagValues()
    define(values)
    flags.DEFINE_bool(
        "help", False, "Shows this text.", short_name="h", flag_values=values
    )
    try:
        rest = values(argv)
        if "config" in values and values["config"].present:
            _check_config(values)
    except UserError:
        raise
    except (
        flags.Error,
        AttributeError,
        KeyError,
        TypeError,
        ValueError,
        OSError,
    ) as error:
        raise UserError(_one_line(error, values)) from error
    if values.help:
        print(_help(program(argv[0]), about, values))
        raise SystemExit(0)
    if len(rest) > 1:
        raise UserError(f"unexpected argument {rest[1]!r}; flags begin with --")
    missing = [f"--{name}" for name in required if not values[name].value]
    if missing:
        raise UserError(f"missing: {', '.join(missing)}; --help shows an example")
    return values


def program(name: str) -> str:
    """Returns how a command is called, of argv[0]: 'train.py', '-m encnet_jax.sweep'.

    Python gives a module that it was told to run the absolute path of its file.
    """
    package, path = pathlib.Path(__file__).resolve().parent, pathlib.Path(name)
    if not path.is_absolute() or package not in path.resolve().parents:
        return name
    parts = path.resolve().relative_to(package.parent).with_suffix("").parts
    return f"-m {'.'.join(part for part in parts if part != '__main__')}"


def _help(name: str, about: str, values: flags.FlagValues) -> str:
    """Returns the command's description and its flags; those of absl are left out."""
    lines = [f"usage: python {name} [flags]", "", inspect.cleandoc(about), ""]
    for flag_name in sorted(values):
        flag = values[flag_name]
        # Short names are second entries, fields of the configuration are no flags.
        if flag_name != flag.name or "." in flag_name:
            continue
        text = f"--{flag_name}: {flag.help}"
        if flag.default and not flag.boolean:
            text += f" Default: {flag.default}."
        lines.append(flags.text_wrap(text, indent="      ", firstline_indent="  "))
    return "\n".join(lines)


def _check_config(values: flags.FlagValues) -> None:
    """Raises UserError unless --config names a file; a broken one says so when read."""
    config_lib.split_spec(values["config"].config_filename)
    values.config.keys()


def define_config(values: flags.FlagValues, argv: Sequence[str]) -> None:
    """Defines --config FILE.py[:arguments] and its --config.field=value overrides."""
    config_flags.DEFINE_config_file(
        "config",
        None,
        "Configuration, for example configs/camvid.py or configs/ade20k.py:release;"
        " --config.FIELD=VALUE changes a field; encnet_jax/config/defaults.py has all.",
        flag_values=values,
        lock_config=True,
        sys_argv=list(argv),
    )


def config_name(values: flags.FlagValues) -> str:
    """Returns 'camvid-fcn-resnet50' for --config configs/camvid.py:fcn,resnet50."""
    path, arguments = config_lib.split_spec(values["config"].config_filename)
    return "-".join([path.stem, *filter(None, arguments.split(","))])


# What a value may be, by the name of its parser's type; absl says the rest in words.
_WANTED = {
    "bool": "true or false",
    "tuple": "values in brackets, such as \"('road', 'other')\" or \"(0.5, 1.0)\"",
}


def _one_line(error: Exception, values: flags.FlagValues) -> str:
    # Some of ml_collections' messages span lines and quote the whole configuration, and
    # its KeyError holds the representation of a text that ends with a suggestion.
    text = str(error.args[0] if error.args else error)
    illegal = re.match(r"flag --([\w.]+)=(.*?): ", text, re.DOTALL)
    if illegal:
        name, found = illegal.groups()
        parser = values[name].parser
        wanted = _WANTED.get(parser.flag_type(), parser.syntactic_help)
        if wanted:  # A configuration that cannot be read says itself why.
            return f"--{name} is {found!r}; wanted {wanted}"
    mistyped = re.search(r'Did you mean "(\w+)" instead of "(\w+)"', text)
    if mistyped:
        wanted, found = mistyped.groups()
        return f"no field {found!r} in the configuration; did you mean {wanted!r}?"
    return " ".join(text.split())[:300]
