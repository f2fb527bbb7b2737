"""The command line for data sets: python -m encnet_jax.data COMMAND ..."""

from collections.abc import Sequence

from encnet_jax import cli
from encnet_jax.cli import Command

COMMANDS = {
    "prepare": Command(
        "encnet_jax.data.prepare.__main__", "prepares a data set for training"
    ),
    "check": Command("encnet_jax.data.check.__main__", "finds mistakes in a data set"),
    "export_images": Command(
        "encnet_jax.data.export_images", "writes images and labels as PNGs"
    ),
    "export_arrays": Command(
        "encnet_jax.data.export_arrays", "writes a data set as .npz files"
    ),
}


def main(argv: Sequence[str]) -> int | None:
    """Runs the command that the first argument names."""
    return cli.choose(argv, COMMANDS)


if __name__ == "__main__":
    cli.start(main)
