"""Writing matplotlib's figures."""

import pathlib


def save(figure, output: str | pathlib.Path, *, dpi: int) -> None:
    """Writes a PNG, whole or not at all; its folder is made if missing."""
    target = pathlib.Path(output)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(target.name + ".partial")
    figure.savefig(unfinished, format="png", dpi=dpi)
    unfinished.replace(target)
