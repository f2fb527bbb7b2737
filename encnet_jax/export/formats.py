"""Writes programs in one of the file formats."""

import pathlib

from encnet_jax.export import onnx_graph, stablehlo
from encnet_jax.export.program import Program


def write(program: Program, kind: str, path: pathlib.Path) -> tuple[str, ...]:
    """Writes a program to a file and returns the platforms that can run it.

    Args:
        program: to write.
        kind: 'stablehlo' or 'onnx'.
        path: of a new file in an existing folder.

    Raises:
        UserError: a package is missing, or the format does not support a part of the
            network.
    """
    if kind == "onnx":
        path.write_bytes(onnx_graph.write(program))
        return ("cpu",)
    path.write_bytes(stablehlo.write(program))
    return stablehlo.PLATFORMS
