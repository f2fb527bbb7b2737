"""Prints a configuration's fields, explains a field, or copies a configuration file.

    python -m encnet_jax.config configs/pascal_voc.py:release,resnet101
    python -m encnet_jax.config --explain optim.base_lr
    python -m encnet_jax.config --copy ade20k mine.py

Lines of fields that differ from the defaults start with * and end with the default
value. As in train.py, the flag --config.FIELD=VALUE changes a field.
"""

from collections.abc import Sequence

# Only commands import cli, because cli imports the other modules of this package.
from encnet_jax import cli
from encnet_jax import config as config_lib
from encnet_jax.config import defaults, files
from encnet_jax.config import explain as explain_lib
from encnet_jax.errors import UserError


def lines(config) -> list[str]:
    """Returns one line 'FIELD = VALUE' for each field of a resolved configuration.

    If a value differs from the default, the line starts with '*' and ends with the
    default.
    """
    default = config_lib.flatten(config_lib.resolve(defaults.get_config()))
    shown = []
    for field, value in config_lib.flatten(config).items():
        same = value == default[field]
        line = f"{' ' if same else '*'} {field} = {value!r}"
        shown.append(line if same else f"{line}  (default: {default[field]!r})")
    return shown


def main(argv: Sequence[str]) -> None:
    """Runs the command: prints fields, explains a field, or copies a configuration."""
    name, *rest = argv
    if rest and not rest[0].startswith("-"):
        rest[0] = f"--config={rest[0]}"
    line = cli.CommandLine([name, *rest], __doc__)
    line.config()
    line.string("explain", "Print default and meaning of this field or section.")
    line.string("copy", "Copy the configuration with this name to FILE.")
    line.argument("file", "New file for --copy.", several=True, default=[])
    line.switch("reference", "Print the reference of all fields in Markdown.")
    values = line.parse(loads_jax=False)
    if values.copy is not None or values.file:
        if values.copy is None or len(values.file) != 1:
            raise UserError("expected --copy NAME FILE.py; --help shows an example")
        files.copy(values.copy, values.file[0])
        print(f"wrote {values.file[0]}; train: train.py --config {values.file[0]}")
    elif values.explain is not None:
        print(explain_lib.explain(values.explain))
    elif values.reference:
        print(explain_lib.reference(), end="")
    elif values.config is None:
        raise UserError(
            "expected --config NAME or --explain FIELD; --help shows examples"
        )
    else:
        print("\n".join(lines(config_lib.resolve(values.config))))


if __name__ == "__main__":
    cli.start(main)
