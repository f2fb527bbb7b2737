"""Rematerialisation: recomputes a backbone in the backward pass to save memory.

The backward pass recomputes up to six blocks at a time, from arrays that the forward
pass kept. Within these blocks, XLA still fuses operations of different blocks.
"""

from functools import partial

import flax.linen as nn
import jax

from encnet_jax.models.conv import output_name
from encnet_jax.models.norm import STATISTICS_NAME

_LONGEST = 6  # Blocks per unit at most; their outputs are in memory at the same time.
# Outputs of the stem that are kept. The second convolution's output is as large as the
# first's and faster to recompute.
_STEM = [output_name(f"layer{i}", "conv") for i in (1, 3)]


def apply(parent: nn.Module, x: jax.Array, modules: list[partial]) -> jax.Array:
    """Applies modules one after the other and returns the output of the last module.

    Args:
        parent: module whose compact method calls this function; required by nn.remat.
        x: [B, H, W, C].
        modules: constructors of the modules.
    """
    for make in modules:
        x = make()(x)
    return x


def run(
    parent: nn.Module,
    modules: list[partial],
    x: jax.Array,
    stage: int,
    deep: bool,
    remat: bool,
) -> jax.Array:
    """Applies the modules of a stage of a backbone, with optional rematerialisation.

    With rematerialisation, the forward pass keeps the statistics of all batch norms.
    In a ResNet, the forward pass also keeps the outputs of some convolutions: in stage
    1, of the first and third convolution of the stem; in stage 2, of all convolutions
    of each block except the last one; in stages 3 and 4, of all convolutions.

    Args:
        parent, x: see `apply`.
        modules: constructors of the modules; each is a `partial` with a `name`.
        stage: number of the stage, 1 to 4.
        deep: whether blocks have three convolutions instead of two.
        remat: whether the backward pass recomputes arrays that are not kept.
    """
    if not remat:
        return apply(parent, x, modules)
    for start in range(0, len(modules), _LONGEST):
        unit = modules[start : start + _LONGEST]
        names = [STATISTICS_NAME, *_kept(unit, stage, 3 if deep else 2)]
        policy = jax.checkpoint_policies.save_only_these_names(*names)
        x = nn.remat(partial(apply, modules=unit), policy=policy)(parent, x)
    return x


def _kept(unit: list[partial], stage: int, convolutions: int) -> list[str]:
    if stage == 1:
        return _STEM
    count = convolutions if stage >= 3 else convolutions - 1
    return [
        output_name(module.keywords["name"], f"conv{i}")
        for module in unit
        for i in range(1, count + 1)
    ]
