"""The report commands: python -m encnet_jax.report COMMAND ..."""

from collections.abc import Sequence

from encnet_jax import cli
from encnet_jax.cli import Command

COMMANDS = {
    "compare": Command(
        "encnet_jax.report.compare", "image, truth and predictions side by side (PNG)"
    ),
    "html": Command(
        "encnet_jax.report.html", "scores, images and curves in one HTML file"
    ),
    "calibrate": Command(
        "encnet_jax.evaluate.calibrate", "fits the temperature of probabilities"
    ),
    "context": Command(
        "encnet_jax.report.context", "attended channels and codewords (PNGs)"
    ),
    "gridding": Command(
        "encnet_jax.report.gridding", "pixels reached by dilated convolutions (PNG)"
    ),
    "refine": Command(
        "encnet_jax.evaluate.search", "searches parameters of the dense CRF"
    ),
    "curves": Command("encnet_jax.report.curves", "error against epoch (PNG)"),
}


def main(argv: Sequence[str]) -> int | None:
    """Runs the command given by the first argument."""
    return cli.choose(argv, COMMANDS)


if __name__ == "__main__":
    cli.start(main)
