"""Writing matplotlib's figures."""

import io
import os

from etils import epath

from encnet_jax import storage


def save(figure, output: str | os.PathLike, *, dpi: int) -> None:
    """Writes a PNG, whole or not at all; its folder is made if missing.

    Args:
        figure: of matplotlib.
        output: file name, on a disk or in an object store.
        dpi: pixels an inch.

    Raises:
        UserError: output is in a bucket that cannot be written to.
    """
    picture, target = io.BytesIO(), epath.Path(output)
    storage.check_writable(target.parent)
    figure.savefig(picture, format="png", dpi=dpi)
    target.parent.mkdir(parents=True, exist_ok=True)
    storage.write_whole(target, picture.getvalue())
