"""Writing matplotlib's figures."""

import io
import os

from etils import epath


def save(figure, output: str | os.PathLike, *, dpi: int) -> None:
    """Writes a PNG, whole or not at all; its folder is made if missing."""
    picture, target = io.BytesIO(), epath.Path(output)
    figure.savefig(picture, format="png", dpi=dpi)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(target.name + ".partial")
    unfinished.write_bytes(picture.getvalue())
    unfinished.replace(target)
