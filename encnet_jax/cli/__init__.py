"""Command lines: flags, overrides of fields, and one-line error messages."""

from encnet_jax.cli.line import CommandLine, config_name, join_processes
from encnet_jax.cli.names import Command, choose
from encnet_jax.cli.process import run, start

__all__ = [
    "Command",
    "CommandLine",
    "choose",
    "config_name",
    "join_processes",
    "run",
    "start",
]
