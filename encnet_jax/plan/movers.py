"""Lists the layers that cause the most memory traffic in a compiled training step.

python -m encnet_jax.plan.movers --config configs/ade20k.py --topology v5e:2x4

Compiles the training step for a TPU slice. For each layer of the network, and
separately for the forward and the backward pass, this command sums the bytes that
instructions read from and write to the chip's memory (HBM). An operand counts in full
even if an instruction reads only a part of this operand, so each sum is an upper bound.
The sums show which layers to examine, not how long a layer takes.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from encnet_jax import cli
from encnet_jax.plan.compiled_text import num_bytes

SHOWN = 10
# Instructions that only name or group buffers.
_FREE = {
    "bitcast",
    "constant",
    "get-tuple-element",
    "parameter",
    "tuple",
    "while",
}
# Instructions that start a transfer between memories; they return (operand, copy, ...).
_TRANSFERS = ("copy-start", "slice-start")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?(%[\w.-]+) = (.*?) ([a-z][a-z0-9-]*)\((.*)$")
_COMPUTATION = re.compile(r"^(?:ENTRY )?(%[\w.-]+) \(.*\{$")
_OP_NAME = re.compile(r'op_name="([^"]*)"')
_SHAPE = re.compile(r"[a-z]+[0-9]*\[[0-9,]*\]")
# Arrays in memories other than HBM. HBM is S(0), which is omitted in the text.
_ON_CHIP = re.compile(r"[a-z]+[0-9]*\[[0-9,]*\]\{[^}]*S\([1-9]\)\}")
# Parts of an operation's name that JAX's transformations add; they name no layer.
_TRACED = re.compile(r"checkpoint|rematted.*|while|body|closed_call|cond|branch_.*")


class Instruction(NamedTuple):
    """One instruction of a program; a fusion counts as one instruction.

    Attributes:
        layer: name of the layer, such as 'backbone/stage4_block01/conv2'; or 'loss';
            or 'compiler' for copies that the compiler added; or 'update' for all other
            instructions.
        direction: 'forward' or 'backward' in the network and the loss, otherwise ''.
        num_bytes: bytes that the instruction reads from and writes to HBM in one run of
            the program, including all iterations of loops.
    """

    layer: str
    direction: str
    num_bytes: int


def main(argv):
    """Parses the flags, compiles the step, and prints the memory traffic of layers."""

    line = cli.CommandLine(argv, __doc__)
    line.config(required=True)
    line.string(
        "topology",
        "Chip and shape of the slice, for example v5e:2x4 or v4:2x2x1.",
        required=True,
    )
    values = line.parse()
    # This process computes nothing, and libtpu must not search for chips.
    os.environ["JAX_PLATFORMS"] = "cpu"
    from encnet_jax.plan import chips, compile

    config, num_classes = compile.resolved(values.config)
    _, devices = chips.open_topology(values.topology)
    images = max(1, config.train.batch_size // len(devices))
    lowered, _ = compile.lower_train_step(config, num_classes, devices, images)
    text = lowered.compile().as_text()
    print(format_movers(list(instructions(text, config.loss.row_blocks)), images))


def instructions(text: str, loop_trips: int) -> Iterator[Instruction]:
    """Yields the instructions that access memory in an optimised HLO program.

    Args:
        text: text of the program, one instruction per line.
        loop_trips: number of iterations of every loop. The bytes of instructions inside
            loops are multiplied by this number.
    """
    bodies = set(re.findall(r"body=(%[\w.-]+)", text))
    inside = set(re.findall(r"(?:calls|to_apply)=(%[\w.-]+)", text))
    sizes, trips, skipping = {}, 1, False
    for line in text.splitlines():
        if head := _COMPUTATION.match(line):
            skipping = head[1] in inside
            trips = loop_trips if head[1] in bodies else 1
        elif not skipping and (match := _INSTRUCTION.match(line)):
            name, shape, kind, rest = match.groups()
            sizes[name] = num_bytes(_ON_CHIP.sub("", shape))
            if kind in _FREE or kind.endswith("-done") or "AllocateBuffer" in rest:
                continue
            if kind in _TRANSFERS:
                moved = num_bytes(_SHAPE.findall(shape)[1])
            else:
                operands = re.findall(r"%[\w.-]+", _inside_brackets(rest))
                moved = sizes[name] + sum(sizes.get(each, 0) for each in operands)
            op_name = _OP_NAME.search(line)
            layer, direction = layer_of(op_name[1] if op_name else "")
            yield Instruction(layer, direction, trips * moved)


def _inside_brackets(text: str) -> str:
    """For the text after a '(', returns the part before the matching ')'."""
    depth = 1
    for i, letter in enumerate(text):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if not depth:
            return text[:i]
    return text


def layer_of(op_name: str) -> tuple[str, str]:
    """Returns the tuple (layer, direction) of an operation; see Instruction.

    Args:
        op_name: JAX's name of the operation, such as
            'jit(step)/transpose(jvp(Segmenter))/head/conv/conv/add'.
    """
    if not op_name:
        return "compiler", ""
    parts = op_name.split("/")
    starts = [i for i, part in enumerate(parts) if "jvp(" in part]
    if not starts:
        return "update", ""
    direction = "backward" if "transpose(" in op_name else "forward"
    modules = [
        part
        for part in parts[starts[0] + 1 : -1]
        if re.fullmatch(r"[a-z]\w*", part) and not _TRACED.fullmatch(part)
    ]
    return "/".join(modules) or "loss", direction


def format_movers(found: list[Instruction], images: int) -> str:
    """Formats a list of the layers with the most memory traffic, as lines of text.

    Args:
        found: all instructions of a program that access memory.
        images: number of images per chip and step.
    """
    totals: Counter[tuple[str, str]] = Counter()
    for each in found:
        totals[each.layer, each.direction] += each.num_bytes
    total = sum(totals.values())
    lines = [f"{total / images / 1e9:.2f} GB read and written per image, at most"]
    for (layer, direction), moved in totals.most_common(SHOWN):
        lines.append(
            f"  {moved / images / 1e6:8.1f} MB {100 * moved / total:5.1f} %"
            f"  {direction:<9}{layer}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    cli.start(main)
