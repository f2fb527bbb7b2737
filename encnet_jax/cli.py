"""Command lines: flags, overrides, and one line for a user's mistake."""

import sys
from collections.abc import Callable, Sequence

from absl import flags
from ml_collections import config_flags

from encnet_jax import config as config_lib
from encnet_jax.errors import UserError


def run(main: Callable[[Sequence[str]], int | None], argv: Sequence[str]) -> int:
    """Runs main(argv) and returns its exit status; a UserError becomes one line."""
    try:
        return main(argv) or 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 130


def parse(argv: Sequence[str], define: Callable[[flags.FlagValues], None]) -> flags.FlagValues:
    """Parses a command line.

    Args:
        argv: program name and arguments.
        define: defines the command's flags on the FlagValues it is given.

    Raises:
        UserError: an unknown flag, a wrong value or a stray argument.
    """
    values = flags.FlagValues()
    define(values)
    flags.DEFINE_bool("help", False, "Shows this text.", short_name="h", flag_values=values)
    try:
        rest = values(argv)
        if "config" in values and values.config is not None:
            values.config.keys()  # A file that could not be loaded says so only when read.
    except UserError:
        raise
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        raise UserError(_one_line(error)) from error
    if values.help:
        print(f"usage: python {argv[0]} [flags]\n{values.get_help()}")
        raise SystemExit(0)
    if len(rest) > 1:
        raise UserError(f"unexpected argument {rest[1]!r}; flags begin with --")
    return values


def define_config(values: flags.FlagValues, argv: Sequence[str]) -> None:
    """Defines --config FILE.py[:arguments] and its --config.field=value overrides."""
    config_flags.DEFINE_config_file(
        "config",
        None,
        "Configuration, for example configs/camvid.py or configs/ade20k.py:release.",
        flag_values=values,
        lock_config=True,
        sys_argv=list(argv),
    )


def config_name(values: flags.FlagValues) -> str:
    """Returns 'camvid-fcn-resnet50' for --config configs/camvid.py:fcn,resnet50."""
    path, _, arguments = values["config"].config_filename.partition(":")
    stem = path.rsplit("/", 1)[-1].removesuffix(".py")
    return "-".join([stem, *filter(None, arguments.split(","))])


def _one_line(error: Exception) -> str:
    # Some of ml_collections' messages span lines and quote the whole configuration.
    text = str(error.args[0] if error.args else error)
    return " ".join(text.split())[:300]
