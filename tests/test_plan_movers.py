"""Bytes by layer and direction, on a program small enough to add up by hand."""

import pytest

from encnet_jax.plan import movers
from encnet_jax.plan.movers import Instruction

TEXT = """
%fused_computation.1 (param_0.1: f32[10]) -> f32[10] {
  %param_0.1 = f32[10]{0} parameter(0)
  ROOT %add.7 = f32[10]{0} add(%param_0.1, %param_0.1), metadata={op_name="jit(s)/x"}
}

%body.2 (arg.1: (f32[10])) -> (f32[10]) {
  %arg.1 = (f32[10]{0}) parameter(0)
  %gte.1 = f32[10]{0} get-tuple-element(%arg.1), index=0
  ROOT %dot.1 = f32[20]{0} dot(%gte.1), metadata={op_name="jit(s)/jvp()/while/body/dot"}
}

ENTRY %main.3 (p.1: f32[10], p.2: bf16[4,5]) -> f32[10] {
  %p.1 = f32[10]{0:T(256)} parameter(0)
  %p.2 = bf16[4,5]{1,0:T(8,128)(2,1)} parameter(1)
  %conv.1 = bf16[6,5]{1,0} convolution(%p.2, %p.1), metadata={op_name=\
"jit(s)/jvp(Segmenter)/backbone/stage1_block01/conv1/conv_general_dilated"}
  %fusion.1 = (f32[10]{0}, f32[2]{0}) fusion(%p.1, %conv.1), kind=kLoop, \
calls=%fused_computation.1, metadata={op_name=\
"jit(s)/transpose(jvp(Segmenter))/backbone/stage1_block01/conv1/mul"}
  %w.1 = (f32[10]{0}) while(%t.1), condition=%c.1, body=%body.2
  %copy.1 = (f32[10]{0:T(256)S(1)}, f32[10]{0:T(256)}, u32[]{:S(2)}) copy-start(%p.1)
  %copy.2 = f32[10]{0:T(256)S(1)} copy-done(%copy.1)
  ROOT %out.1 = f32[10]{0} add(%p.1, %p.1), metadata={op_name="jit(s)/sub"}
}
"""
CONV = "backbone/stage1_block01/conv1"


def test_bytes_equal_a_count_by_hand():
    assert list(movers.instructions(TEXT, loop_trips=16)) == [
        Instruction("loss", "forward", 16 * (80 + 40)),
        Instruction(CONV, "forward", 60 + 40 + 40),
        Instruction(CONV, "backward", 48 + 40 + 60),
        Instruction("compiler", "", 40),
        Instruction("update", "", 40 + 40 + 40),
    ]


@pytest.mark.parametrize(
    ("op_name", "expected"),
    [
        ("jit(s)/jvp(Segmenter)/head/conv/conv/dot", ("head/conv/conv", "forward")),
        ("jit(s)/transpose(jvp(Segmenter))/head/add", ("head", "backward")),
        ("jit(s)/jvp()/add", ("loss", "forward")),
        ("jit(s)/mul", ("update", "")),
        ("jit(s)/jvp()/while/body/closed_call/add", ("loss", "forward")),
        ("", ("compiler", "")),
    ],
)
def test_layers_by_jax_names(op_name, expected):
    assert movers.layer_of(op_name) == expected


def test_the_largest_come_first():
    found = [Instruction(f"layer{i}", "forward", i * 10**6) for i in range(1, 21)]
    lines = movers.format_movers(found + found[-1:], images=2).splitlines()
    assert lines[0].startswith("0.12 GB")
    assert len(lines) == 1 + movers.SHOWN
    assert lines[1].split() == ["20.0", "MB", "17.4", "%", "forward", "layer20"]
