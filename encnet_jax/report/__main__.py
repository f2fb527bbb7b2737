"""Reports by name: python -m encnet_jax.report COMMAND ..."""

import sys
from collections.abc import Sequence

from encnet_jax import cli
from encnet_jax.errors import UserError
from encnet_jax.report import compare, curves, gridding, refine

COMMANDS = {
    "compare": compare.main,
    "curves": curves.main,
    "gridding": gridding.main,
    "refine": refine.main,
}


def main(argv: Sequence[str]) -> int | None:
    """Runs the command that the first argument names."""
    name = argv[1] if len(argv) > 1 else ""
    if name in ("--help", "-h"):
        print(f"usage: python -m encnet_jax.report {{{','.join(COMMANDS)}}} --help")
        return 0
    if name not in COMMANDS:
        raise UserError(f"command {name!r}; wanted one of: {', '.join(COMMANDS)}")
    return COMMANDS[name](argv[1:])


if __name__ == "__main__":
    sys.exit(cli.run(main, sys.argv))
