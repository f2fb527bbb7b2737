"""The report commands: python -m encnet_jax.report COMMAND ..."""

from collections.abc import Sequence

from encnet_jax import cli
from encnet_jax.cli import Command

COMMANDS = {
    "compare": Command(
        "encnet_jax.report.compare", "draws image, labels and predictions (PNG)"
    ),
    "html": Command(
        "encnet_jax.report.html", "writes scores, images and curves (HTML)"
    ),
    "calibrate": Command(
        "encnet_jax.evaluate.calibrate", "fits the softmax temperature"
    ),
    "context": Command(
        "encnet_jax.report.context", "draws attended channels and codewords (PNGs)"
    ),
    "gridding": Command(
        "encnet_jax.report.gridding", "draws receptive fields of convolutions (PNG)"
    ),
    "refine": Command(
        "encnet_jax.evaluate.search", "searches for good parameters of the dense CRF"
    ),
    "curves": Command("encnet_jax.report.curves", "plots error against epoch (PNG)"),
}


def main(argv: Sequence[str]) -> int | None:
    """Runs the command whose name is the first argument; returns its exit status."""
    return cli.choose(argv, COMMANDS)


if __name__ == "__main__":
    cli.start(main)
