"""Runs commands by name, and formats the names of commands for help texts."""

import difflib
import importlib
import pathlib
import re
from collections.abc import Sequence
from typing import NamedTuple

from encnet_jax.errors import UserError


class Command(NamedTuple):
    """One command of a program such as `encnet`.

    Attributes:
        module: name of the module that implements the command.
        does: summary for --help, such as 'scores a checkpoint'.
        function: name of the function in `module` that runs the command, given argv.
    """

    module: str
    does: str
    function: str = "main"


def choose(argv: Sequence[str], commands: dict[str, Command]) -> int | None:
    """Runs the command whose name is the first argument.

    Args:
        argv: program name, name of the command, arguments of the command.
        commands: name -> command; a module is imported only when its command runs.

    Returns:
        The exit status of the command; None means success.

    Raises:
        UserError: the command does not exist.
    """
    called, name = program(argv[0]), argv[1] if len(argv) > 1 else "--help"
    if name in ("--help", "-h"):
        width = max(map(len, commands))
        print(f"usage: {called} COMMAND [flags]\n")
        for each, command in commands.items():
            print(f"  {each:<{width}}  {command.does}")
        print(f"\n{called} COMMAND --help shows an example and the flags.")
        return 0
    if name not in commands:
        known = ", ".join(commands)
        near = difflib.get_close_matches(name, commands, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UserError(f"unknown command {name!r}; expected one of: {known}{hint}")
    command = commands[name]
    main = getattr(importlib.import_module(command.module), command.function)
    return main([f"{called} {name}", *argv[2:]])


_CALLED_BY_PYTHON = re.compile(r"python (?:-m encnet_jax\.([\w.]+)|(\w+)\.py)")


def for_console(text: str) -> str:
    """Replaces Python commands in a text with console commands.

    For example, `python train.py` becomes `encnet train`.
    """

    def word(match: re.Match) -> str:
        words = (match[1] or match[2]).replace("torch_weights", "weights")
        return f"encnet {words.replace('.', ' ')}"

    return _CALLED_BY_PYTHON.sub(word, text)


def program(name: str) -> str:
    """Returns a program as the user typed it: 'python train.py' or 'encnet train'.

    Args:
        name: argv[0]. For `python -m`, argv[0] is the absolute path of the module's
            file.
    """
    package, path = pathlib.Path(__file__).resolve().parent.parent, pathlib.Path(name)
    if path.is_absolute() and package in path.resolve().parents:
        parts = path.resolve().relative_to(package.parent).with_suffix("").parts
        return f"python -m {'.'.join(part for part in parts if part != '__main__')}"
    return name if name.startswith(("encnet", "python ")) else f"python {name}"
