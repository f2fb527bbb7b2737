"""Reports by name: python -m encnet_jax.report COMMAND ..."""

from collections.abc import Sequence

from encnet_jax import cli
from encnet_jax.cli import Command

COMMANDS = {
    "compare": Command("encnet_jax.report.compare", "image, truth, predictions: a PNG"),
    "html": Command("encnet_jax.report.html", "one page of everything, to send"),
    "gridding": Command("encnet_jax.report.gridding", "which pixels a feature sees"),
    "refine": Command("encnet_jax.evaluate.search", "searches a CRF's settings"),
    "curves": Command("encnet_jax.report.curves", "error against epoch: a PNG"),
}


def main(argv: Sequence[str]) -> int | None:
    """Runs the command that the first argument names."""
    return cli.choose(argv, COMMANDS)


if __name__ == "__main__":
    cli.start(main)
