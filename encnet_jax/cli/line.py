"""Parses a command line: flags, overrides of configuration fields, and --help."""

import inspect
import logging
import os
import re
import resource
import subprocess
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from encnet_jax import storage
from encnet_jax.cli.names import for_console, program
from encnet_jax.errors import UserError, short

# Flags and arguments that name files or folders, in all commands.
_PATHS = {
    *("workdir", "input", "output", "run", "run_image", "source", "images", "plans"),
    *("data_dir", "refine", "temperature"),
}


class CommandLine:
    """Defines and parses the flags of one command.

    First call the methods that define flags, then `parse`.
    """

    def __init__(self, argv: Sequence[str], about: str | None):
        """Creates a command line whose only flag is --help.

        Args:
            argv: program name and arguments.
            about: text that --help shows above the flags: the command's docstring, with
                an example.
        """
        self._argv, self._about = list(argv), about or ""
        self._values = flags.FlagValues()
        self._values.set_gnu_getopt(True)  # Arguments may come before flags.
        self._required: list[str] = []
        self._argument: tuple[str, bool] | None = None
        flags.DEFINE_bool(
            "help", False, "Shows this text.", short_name="h", flag_values=self._values
        )

    def string(
        self,
        name: str,
        meaning: str,
        default: str | None = None,
        required: bool = False,
    ) -> None:
        """Defines a flag whose value is a string."""
        self._define(flags.DEFINE_string, name, default, meaning, required)

    def strings(self, name: str, meaning: str) -> None:
        """Defines a flag whose value is a comma-separated list; empty by default."""
        self._define(flags.DEFINE_list, name, [], meaning, False)

    def integer(
        self, name: str, meaning: str, default: int | None = None, least: int = 0
    ) -> None:
        """Defines a flag whose value is an integer from `least` to 2**53."""
        self._define(flags.DEFINE_integer, name, default, meaning, False, least)
        self._limit(name, 2**53)

    def number(
        self, name: str, meaning: str, default: float | None = None, least: float = 0.0
    ) -> None:
        """Defines a flag whose value is a finite number of at least `least`."""
        self._define(flags.DEFINE_float, name, default, meaning, False, least)
        self._limit(name, sys.float_info.max)

    def _limit(self, name: str, most: float) -> None:
        """Makes a flag reject NaN, infinity, and numbers above `most`."""
        flags.register_validator(
            name,
            lambda value: value is None or value <= most,
            message=f"expected a finite number of at most {most:g}",
            flag_values=self._values,
        )

    def switch(self, name: str, meaning: str) -> None:
        """Defines a boolean flag, False by default."""
        self._define(flags.DEFINE_bool, name, False, meaning, False)

    def argument(
        self,
        name: str,
        meaning: str,
        several: bool = False,
        default: list[str] | None = None,
    ) -> None:
        """Defines the only positional argument.

        Args:
            name: name of the argument in the result of `parse`. The value is a string,
                or a list of strings if `several` is True.
            meaning: description for --help.
            several: whether the argument may be repeated.
            default: default value; None if the argument is required.
        """
        define = flags.DEFINE_list if several else flags.DEFINE_string
        self._define(define, name, default, meaning, default is None)
        self._argument = name, several

    def config(self, required: bool = False) -> None:
        """Defines --config FILE.py[:arguments] and the flags --config.FIELD=VALUE."""
        self._argv = _with_located_config(self._argv)
        config_flags.DEFINE_config_file(
            "config",
            None,
            "Configuration: a file or a name, for example configs/camvid.py or"
            " ade20k:release. --config.FIELD=VALUE changes a field; docs/fields.md"
            " lists all fields.",
            flag_values=self._values,
            lock_config=True,
            sys_argv=self._argv,
        )
        if required:
            self._required.append("config")

    def checkpoint(
        self, default: str = "the best, or the newest if no checkpoint is scored"
    ) -> None:
        """Defines --checkpoint, which selects a checkpoint of a run."""
        meaning = "Checkpoint of the run: a step, 'best' or 'newest'."
        self.string("checkpoint", f"{meaning} Default: {default}.")

    def probabilities(self) -> None:
        """Defines --refine and --temperature, which change the class probabilities."""
        self.string(
            "refine",
            "Refinement: 'dense', 'none', or a file written by `report refine`."
            " Default: eval.refine.",
        )
        self.string(
            "temperature",
            "Softmax temperature: a number, or a file written by `report calibrate`.",
        )

    def processes(self) -> None:
        """Defines the flags that connect the processes of a distributed run."""
        self.string(
            "coordinator_address",
            "HOST:PORT of process 0; not needed on Cloud TPU, SLURM and Open MPI.",
        )
        self.integer("num_processes", "Number of processes of the run.")
        self.integer("process_id", "Index of this process, from 0.")
        waiting = "Seconds to wait for the other processes."
        self.number("peers_timeout_s", waiting, 300.0, least=1.0)

    def _define(self, define, name, default, meaning, required, *bound) -> None:
        define(name, default, meaning, *bound, flag_values=self._values)
        if required:
            self._required.append(name)

    def parse(self, loads_jax: bool = True) -> flags.FlagValues:
        """Parses the command line and prepares this process for the command.

        Args:
            loads_jax: whether the command uses JAX, which takes seconds to load.

        Returns:
            An object whose attributes are the values of all flags and arguments.

        Raises:
            UserError: a flag is unknown, invalid or missing, or an argument is
                unexpected.
        """
        values = self._values
        if "config" in values:  # Reading a FIFO would block the parser.
            file = _given_config(self._argv).partition(":")[0]
            if not os.path.isdir(file):
                storage.check_regular(file)
        try:
            _, *rest = values(self._argv)
            if "config" in values and values["config"].present:
                _check_config(values)
        except UserError:
            raise
        except (SyntaxError, NameError, ImportError, SystemExit) as error:
            raise UserError(_of_config_code(error, self._argv)) from error
        except (
            flags.Error,
            AttributeError,
            KeyError,
            TypeError,
            ValueError,
            OSError,
        ) as error:
            raise UserError(_one_line(error, values)) from error
        except Exception as error:  # Raised by the code of a configuration.
            raise UserError(_of_config_code(error, self._argv)) from error
        if values.help:
            print(self._help())
            raise SystemExit(0)
        if self._argument and rest:
            name, several = self._argument
            values[name].value = rest if several else rest[0]
            rest = [] if several else rest[1:]
        if rest:
            raise UserError(f"unexpected argument {rest[0]!r}; flags begin with --")
        missing = [self._shown(x) for x in self._required if not values[x].value]
        if missing:
            raise UserError(f"missing: {', '.join(missing)}; --help shows an example")
        for name in _PATHS & set(values):
            given: Any = values[name].value
            several = isinstance(given, list)
            paths = [
                os.path.expanduser(x) for x in (given if several else [given]) if x
            ]
            for path in paths:
                storage.is_remote(path)  # Raises for unknown URL schemes.
            if paths:  # Shells do not expand the ~ of --workdir=~/runs.
                values[name].value = paths if several else paths[0]
        if loads_jax:
            _make_settings()
        return values

    def _shown(self, name: str) -> str:
        is_argument = self._argument and name == self._argument[0]
        return name.upper() if is_argument else f"--{name}"

    def _help(self) -> str:
        """Returns the text of --help: usage, description, and flags of the command."""
        called, about = program(self._argv[0]), inspect.cleandoc(self._about)
        usage, values = f"usage: {called}", self._values
        if self._argument:
            usage += f" {self._argument[0].upper()}{'...' if self._argument[1] else ''}"
        if called.startswith("encnet"):
            about = for_console(about)
        lines = [f"{usage} [flags]", "", about, ""]
        for name in sorted(values):
            flag = values[name]
            # Skips short names, which are second entries, and configuration fields.
            if name != flag.name or "." in name:
                continue
            text = f"{self._shown(name)}: {flag.help}"
            if flag.default and not flag.boolean:
                text += f" Default: {flag.default}."
            lines.append(flags.text_wrap(text, indent="      ", firstline_indent="  "))
        return "\n".join(lines)


# XLA flags that are accepted without trying them, which would take a second.
_FAMILIAR = re.compile(
    r"--xla_(force_host_platform_device_count|backend_optimization_level)=[1-9]?[0-9]"
    r"|--xla_cpu_use_fusion_emitters=(true|false)"
)


def _check_xla_flags(words: str) -> None:
    """Raises UserError if XLA would abort the process because of these XLA flags."""
    if "jax" in sys.modules or all(map(_FAMILIAR.fullmatch, words.split())):
        return
    code = "from jax._src.lib import xla_client; xla_client.CompileOptions()"
    tried = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, errors="replace"
    )
    lines = [x for x in tried.stderr.splitlines() if re.match("[EF][0-9]{4} ", x)]
    if tried.returncode and lines:
        reason = lines[0].partition("] ")[2]
        raise UserError(
            f"XLA rejects XLA_FLAGS={short(words)} ({reason}): correct or unset this"
            " environment variable"
        )


_LEAST_ADDRESSES = 1900 << 20  # Bytes; smaller limits abort JAX on two cores.


def _make_settings() -> None:
    """Checks that JAX can start, and makes global settings of JAX and logging.

    For commands only: a program that imports this package keeps its own settings.

    Raises:
        UserError: JAX would abort the process, because the limit on the address space
            is too small or XLA_FLAGS contains invalid flags.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < _LEAST_ADDRESSES:
        raise UserError(
            f"the address space is limited to {limit >> 20} MiB, but JAX needs at least"
            f" {_LEAST_ADDRESSES >> 20} MiB: raise the limit (ulimit -v unlimited)"
        )
    _check_xla_flags(os.environ.get("XLA_FLAGS", ""))
    from encnet_jax.pods import parallel  # Mistyped flags are reported first.

    parallel.enable_compilation_cache()
    # Orbax logs every file that it accesses, and logs errors before it raises them.
    logging.getLogger("absl").setLevel(logging.CRITICAL)


def join_processes(values: flags.FlagValues) -> None:
    """Connects this process to the other processes of a distributed run.

    The number of processes and the address of process 0 come from the flags that
    CommandLine.processes defines, or from environment variables of the cluster.

    Args:
        values: result of `CommandLine.parse`.
    """
    from encnet_jax.pods import distributed

    distributed.join(
        values.coordinator_address,
        values.num_processes,
        values.process_id,
        timeout_s=values.peers_timeout_s,
    )


def _with_located_config(argv: list[str]) -> list[str]:
    """Replaces the name of a configuration in --config with the path of its file."""
    from encnet_jax.config.files import located

    found = list(argv)
    for i, word in enumerate(argv):
        if word == "--config" and i + 1 < len(argv):
            found[i + 1] = located(argv[i + 1])
        elif word.startswith("--config="):
            found[i] = f"--config={located(word.removeprefix('--config='))}"
    return found


def _check_config(values: flags.FlagValues) -> None:
    """Checks the configuration that --config selects, and adjusts its data paths.

    Relative data paths may refer to the folder of the configuration file.

    Raises:
        UserError: the file does not exist, or its get_config did not return a
            ConfigDict.
    """
    from encnet_jax import config as config_lib

    file, _ = config_lib.split_spec(_config_flag(values).config_filename)
    if hasattr(values.config, "keys"):
        values.config.keys()  # Raises an error if the file could not be loaded.
    if not isinstance(values.config, ConfigDict):
        kind = type(values.config).__name__
        raise UserError(
            f"{file}: get_config returned a {kind}; expected a ConfigDict: start"
            " get_config with `config = defaults.get_config()` and end it with"
            " `return config`"
        )
    config_lib.locate_data(values.config, file.parent)


def _of_config_code(error: BaseException, argv: Sequence[str]) -> str:
    """Returns a message for an error that a configuration file raised.

    The message states the file and, if known, the line of the error.
    """
    if isinstance(error, SyntaxError) and not error.lineno:
        # For binary files, Python reports neither file name nor line.
        place = _given_config(argv)
    elif isinstance(error, SyntaxError):
        place = f"{error.filename}, line {error.lineno}"
    else:
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{last.filename}, line {last.lineno}"
    return (
        f"--config: {place}: {type(error).__name__}: {getattr(error, 'msg', error)};"
        f" {_EXPECTED_CODE}"
    )


_EXPECTED_CODE = (
    "expected a Python file with a function get_config, such as configs/default.py"
)


def _given_config(argv: Sequence[str]) -> str:
    for word, following in zip(argv, [*argv[1:], ""], strict=True):
        if word == "--config":
            return following
        if word.startswith("--config="):
            return word.removeprefix("--config=")
    return "the file"


def _config_flag(values: flags.FlagValues) -> Any:
    return values["config"]


def config_name(values: flags.FlagValues) -> str:
    """Returns a short name of the configuration that --config selects.

    For --config configs/camvid.py:fcn,resnet50, the name is 'camvid-fcn-resnet50'.
    """
    from encnet_jax import config as config_lib

    path, arguments = config_lib.split_spec(_config_flag(values).config_filename)
    return "-".join([path.stem, *filter(None, arguments.split(","))])


# Type of a flag's parser -> expected values. For other types, absl has descriptions.
_EXPECTED = {
    "bool": "true or false",
    "tuple": "values in brackets, such as \"('road', 'other')\" or \"(0.5, 1.0)\"",
}


def _one_line(error: Exception, values: flags.FlagValues) -> str:
    # Some messages of ml_collections span several lines and quote the whole
    # configuration. args[0] avoids the quotes that str() adds around a KeyError's text.
    text = str(error.args[0] if error.args else error)
    if "Error whilst parsing config file" in text:  # A traceback follows.
        lines = re.findall(r'File "(.*)", line (\d+)', text)
        places = [place for place in lines if "ml_collections" not in place[0]]
        where = ", line ".join(places[-1]) if places else "the file"
        return f"--config: {where}: {text.strip().splitlines()[-1]}; {_EXPECTED_CODE}"
    illegal = re.match(r"flag --([\w.]+)=(.*?): ", text, re.DOTALL)
    if illegal:
        name, found = illegal.groups()
        if text[illegal.end() :].startswith("expected"):  # From _limit.
            return f"--{name} is {short(found, 40)}; {text[illegal.end() :]}"
        parser = values[name].parser
        expected = _EXPECTED.get(parser.flag_type(), parser.syntactic_help)
        if expected:  # Other messages state the reason.
            return f"--{name} is {found!r}; expected {expected}"
    mistyped = re.search(r'Did you mean "(\w+)" instead of "(\w+)"', text)
    if mistyped:
        similar, found = mistyped.groups()
        return f"no field {found!r} in the configuration; did you mean {similar!r}?"
    return " ".join(text.split())[:300]
