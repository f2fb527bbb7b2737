"""The formats of programs on a disk: writing one, its size, taking it away."""

import pathlib
import shutil

from encnet_jax.export import onnx_graph, stablehlo
from encnet_jax.export.program import Program


def write(program: Program, kind: str, path: pathlib.Path) -> tuple[str, ...]:
    """Writes a program; returns the platforms that the file or folder is meant for.

    Args:
        program: to write.
        kind: 'stablehlo' or 'onnx'.
        path: that is not there yet, in a folder that is.

    Raises:
        UserError: a package is missing, or the format lacks a part of the network.
    """
    if kind == "onnx":
        path.write_bytes(onnx_graph.write(program))
        return ("cpu",)
    path.write_bytes(stablehlo.write(program))
    return stablehlo.PLATFORMS


def num_bytes(path: pathlib.Path) -> int:
    """Returns the bytes of a file, or of all files of a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def remove(path: pathlib.Path) -> None:
    """Removes a file or folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
