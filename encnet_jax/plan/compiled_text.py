"""Reads array sizes and estimated clock cycles from the text of an HLO program."""

import math
import re

_ITEM_BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4}
_SHAPE = re.compile(r"([a-z]+[0-9]*)\[([0-9,]*)\]")


def num_bytes(shapes: str) -> int:
    """Returns the total size in bytes of the arrays whose shapes a text lists.

    Args:
        shapes: text with HLO shapes, such as '(f32[2,64]{1,0}, u8[3])'.
    """
    return sum(
        _ITEM_BYTES.get(kind, 4) * math.prod(map(int, filter(None, sides.split(","))))
        for kind, sides in _SHAPE.findall(shapes)
    )


def all_reduce_sizes(text: str) -> list[int]:
    """Returns the size in bytes of each all-reduce in an optimised HLO program."""
    found = (
        re.search(r"= (.*?) all-reduce(?:-start)?\(", line)
        for line in text.splitlines()
    )
    return [num_bytes(match[1]) for match in found if match]


def estimated_cycles(text: str, loop_trips: int) -> int:
    """Returns the compiler's estimate of the clock cycles of a program.

    The compiler estimates a single iteration of each loop, whose cycles this function
    multiplies by `loop_trips`.

    Args:
        text: text of the optimised HLO program.
        loop_trips: number of iterations of every loop.
    """
    bodies = set(re.findall(r"body=(%[^,\s]+)", text))
    total, trips = 0, 1
    for line in text.splitlines():
        if line.endswith("{") and not line.startswith(" "):
            trips = loop_trips if line.split()[0] in bodies else 1
        match = re.search(r'"estimated_cycles":"(\d+)"', line)
        total += trips * int(match[1]) if match else 0
    return total
