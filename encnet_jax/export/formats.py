"""The formats of programs on a disk."""

import pathlib

from encnet_jax.export import onnx_graph, stablehlo
from encnet_jax.export.program import Program


def write(program: Program, kind: str, path: pathlib.Path) -> tuple[str, ...]:
    """Writes a program; returns the platforms that the file is meant for.

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
