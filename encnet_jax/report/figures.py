"""Creates and saves matplotlib figures."""

import io
import os

from etils import epath

from encnet_jax import storage
from encnet_jax.storage import checks, outputs


def new(**options):
    """Returns an empty matplotlib Figure, without pyplot, which could open a window.

    Args:
        options: keyword arguments of matplotlib.figure.Figure.
    """
    # The backend is not needed, and the import would fail for an unknown backend.
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        from matplotlib.figure import Figure
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    return Figure(**options)


def check_output(output: str | os.PathLike) -> None:
    """Checks that a figure can be written, before a long computation starts.

    Raises:
        UserError: the folder cannot be written to, or `output` is an existing file that
            this package did not write.
    """
    checks.check_writable(epath.Path(output).parent)
    outputs.check_replaceable(output, "picture", "--output")


def png(figure, *, dpi: int) -> bytes:
    """Returns the bytes of a PNG of a figure; dollar signs do not start formulas.

    Args:
        figure: a matplotlib Figure.
        dpi: pixels per inch.
    """
    import matplotlib
    from matplotlib.text import Text

    content = io.BytesIO()
    # Also set globally, because matplotlib creates tick labels while it draws.
    with matplotlib.rc_context({"text.parse_math": False}):
        for text in figure.findobj(Text):
            text.set_parse_math(False)
        figure.savefig(content, format="png", dpi=dpi, metadata=outputs.PNG_TEXT)
    return content.getvalue()


def save(figure, output: str | os.PathLike, *, dpi: int) -> None:
    """Writes a figure as a PNG, atomically; creates the folder if necessary.

    Args:
        figure: a matplotlib Figure.
        output: path of the file, on a disk or in an object store.
        dpi: pixels per inch.

    Raises:
        UserError: see check_output.
    """
    target = epath.Path(output)
    check_output(output)
    content = png(figure, dpi=dpi)
    target.parent.mkdir(parents=True, exist_ok=True)
    storage.write_whole(target, content)
