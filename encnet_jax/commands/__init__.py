"""The console command `encnet`: `encnet train` runs `python train.py`, and so on."""

import platform
from collections.abc import Sequence
from typing import NoReturn

import encnet_jax
from encnet_jax import cli
from encnet_jax.cli import Command

COMMANDS = {
    "train": Command("encnet_jax.commands.train", "trains a model, or resumes a run"),
    "eval": Command("encnet_jax.commands.eval", "scores a checkpoint"),
    "predict": Command("encnet_jax.commands.predict", "labels images"),
    "export": Command(
        "encnet_jax.export.__main__", "converts a network for other runtimes"
    ),
    "report": Command(
        "encnet_jax.report.__main__", "draws predictions and plots of runs"
    ),
    "plan": Command(
        "encnet_jax.plan.__main__", "estimates memory and speed on a TPU slice"
    ),
    "selftest": Command(
        "encnet_jax.selftest.__main__", "checks this machine against a CPU reference"
    ),
    "sweep": Command("encnet_jax.sweep", "trains one run per value of a field"),
    "config": Command(
        "encnet_jax.config.__main__", "prints a configuration or explains a field"
    ),
    "data": Command("encnet_jax.data.__main__", "prepares and checks data sets"),
    "weights": Command(
        "encnet_jax.torch_weights.__main__", "imports and exports PyTorch weights"
    ),
    "completion": Command(
        "encnet_jax.commands.completion", "prints a completion script for bash and zsh"
    ),
}


def main(argv: Sequence[str]) -> int | None:
    """Runs the command whose name is the first argument; returns its exit status."""
    if argv[1:] == ["--version"]:
        print(
            f"encnet_jax {encnet_jax.__version__}, Python {platform.python_version()}"
        )
        return 0
    return cli.choose(argv, COMMANDS)


def run() -> NoReturn:
    """Runs the console command and ends the process."""
    cli.start(lambda argv: main(["encnet", *argv[1:]]))
