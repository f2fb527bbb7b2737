"""The console command `encnet`: the same functions as `python train.py` and so on."""

from collections.abc import Sequence
from typing import NoReturn

from encnet_jax import cli
from encnet_jax.cli import Command

COMMANDS = {
    "train": Command("encnet_jax.commands.train", "trains, or goes on"),
    "eval": Command("encnet_jax.commands.eval", "scores a checkpoint"),
    "predict": Command("encnet_jax.commands.predict", "labels photographs"),
    "export": Command("encnet_jax.export.__main__", "files for other runtimes"),
    "report": Command("encnet_jax.report.__main__", "pictures and plots of runs"),
    "plan": Command("encnet_jax.plan.__main__", "compiles for a TPU slice elsewhere"),
    "selftest": Command("encnet_jax.selftest.__main__", "compares this machine"),
    "sweep": Command("encnet_jax.sweep", "one run for each value of a field"),
    "config": Command("encnet_jax.config.__main__", "prints a configuration"),
    "data": Command("encnet_jax.data.__main__", "prepares and checks data sets"),
    "weights": Command("encnet_jax.torch_weights.__main__", "PyTorch's weights"),
}


def main(argv: Sequence[str]) -> int | None:
    """Runs the command that the first argument names."""
    return cli.choose(argv, COMMANDS)


def run() -> NoReturn:
    """Runs the console command and ends the process."""
    cli.start(lambda argv: main(["encnet", *argv[1:]]))
