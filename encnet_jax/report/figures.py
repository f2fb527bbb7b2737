"""Saves matplotlib figures."""

import io
import os

from etils import epath
from matplotlib.text import Text

from encnet_jax import storage
from encnet_jax.storage import outputs


def check_output(output: str | os.PathLike) -> None:
    """Checks that a picture can be written; commands call it before their work.

    Raises:
        UserError: the folder cannot be written to, or another file has that name.
    """
    storage.check_writable(epath.Path(output).parent)
    outputs.check_replaceable(output, "picture", "--output")


def save(figure, output: str | os.PathLike, *, dpi: int) -> None:
    """Writes a PNG atomically and creates its folder.

    Args:
        figure: a matplotlib Figure.
        output: path on a disk or in an object store.
        dpi: pixels per inch.

    Raises:
        UserError: see check_output.
    """
    picture, target = io.BytesIO(), epath.Path(output)
    check_output(output)
    for text in figure.findobj(Text):
        text.set_parse_math(False)  # A name of a run may hold dollar signs.
    figure.savefig(picture, format="png", dpi=dpi, metadata=outputs.PNG_TEXT)
    target.parent.mkdir(parents=True, exist_ok=True)
    storage.write_whole(target, picture.getvalue())
