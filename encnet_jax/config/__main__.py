"""Prints a configuration as it is used: every field, its recipe words applied.

    python -m encnet_jax.config configs/pascal_voc.py:release,resnet101

Fields that differ from the defaults are marked with * and the default's value. Flags
--config.FIELD=VALUE change fields as they do in train.py.
"""

from collections.abc import Sequence

# A command imports cli; cli imports the other modules of this package.
from encnet_jax import cli
from encnet_jax import config as config_lib
from encnet_jax.config import defaults


def lines(config) -> list[str]:
    """Returns 'field = value' for every field; * and the default where they differ."""
    default = config_lib.flatten(config_lib.resolve(defaults.get_config()))
    shown = []
    for field, value in config_lib.flatten(config).items():
        same = value == default[field]
        line = f"{' ' if same else '*'} {field} = {value!r}"
        shown.append(line if same else f"{line}  (default: {default[field]!r})")
    return shown


def main(argv: Sequence[str]) -> None:
    """Parses the command line and prints."""
    name, *rest = argv
    if rest and not rest[0].startswith("-"):
        rest[0] = f"--config={rest[0]}"
    line = cli.CommandLine([name, *rest], __doc__)
    line.config(required=True)
    values = line.parse()
    print("\n".join(lines(config_lib.resolve(values.config))))


if __name__ == "__main__":
    cli.start(main)
