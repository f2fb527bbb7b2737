"""Finds the all-reduces in the text of a lowered (StableHLO) program."""

import math
import re
from typing import NamedTuple

_ITEM_BYTES = {"f32": 4, "bf16": 2, "f16": 2, "i32": 4, "ui32": 4, "i1": 1}
_START = re.compile(r'"stablehlo\.(all_reduce)"\(')
_GROUPS = re.compile(r"replica_groups = dense<.*?> : tensor<(\d+)x(\d+)xi64>")
# JAX 0.12 writes groups as axes of a mesh; a group has all devices along these axes.
_ALONG = re.compile(r"replica_group_mesh_axes<mesh = @(\w+), axes = \[(.*?)\]>")
_MESH = re.compile(r"sdy\.mesh @(\w+) = <\[(.*?)\]>")
_RESULT = re.compile(r"\}\) : \(.*?\) -> (.*)$")
_TENSOR = re.compile(r"tensor<((?:\d+x)*)(\w+)>")


class AllReduce(NamedTuple):
    """One all-reduce of a program.

    Attributes:
        num_bytes: total size of the summed arrays on one device, in bytes.
        group: number of devices over which the arrays are summed.
    """

    num_bytes: int
    group: int


def all_reduces(text: str) -> list[AllReduce]:
    """Returns the all-reduces of a StableHLO program, in the order of the text.

    Args:
        text: result of jax.stages.Lowered.as_text().
    """
    found, group = [], None
    for line in text.splitlines():
        if _START.search(line):
            group = _group_size(line, text)
        # The type of the result follows the region that defines the sum.
        elif group is not None and (result := _RESULT.search(line)):
            found.append(AllReduce(_num_bytes(result[1]), group))
            group = None
    return found


def _group_size(line: str, text: str) -> int:
    if listed := _GROUPS.search(line):
        return int(listed[2])
    along = _ALONG.search(line)
    if along is None:
        raise ValueError(f"an all-reduce lists no groups of devices; found: {line}")
    mesh, axes = along.groups()
    sizes = dict(re.findall(r'"(\w+)"=(\d+)', dict(_MESH.findall(text))[mesh]))
    return math.prod(int(sizes[axis]) for axis in re.findall(r'name = "(\w+)"', axes))


def _num_bytes(types: str) -> int:
    return sum(
        _ITEM_BYTES[kind] * math.prod(map(int, filter(None, sides.split("x"))))
        for sides, kind in _TENSOR.findall(types)
    )
