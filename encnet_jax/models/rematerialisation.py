"""Rematerialisation: recomputing a backbone in the backward pass.

The backward pass recomputes one unit of blocks at a time from the values that the
forward pass kept. The compiler fuses operations across the blocks of a unit, as without
rematerialisation, but not across units. When a stage is recomputed, buffers of later
stages are already freed, so that there is memory for the outputs of a unit's blocks.
"""

from functools import partial

import flax.linen as nn
import jax

from encnet_jax.models.conv import output_name
from encnet_jax.models.norm import STATISTICS_NAME

_LONGEST = 6  # Most blocks per unit; their outputs are in memory at the same time.
# The second convolution is as large as the first and faster to recompute.
_STEM = [output_name(f"layer{i}", "conv") for i in (1, 3)]


def apply(parent: nn.Module, x: jax.Array, modules: list[partial]) -> jax.Array:
    """Applies modules, one after the other.

    Args:
        parent: module whose compact method calls this function.
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
    """Applies the modules of a stage; with `remat` the backward pass recomputes them.

    The forward pass keeps the statistics of batch norms, whose collectives would
    otherwise be repeated, and outputs of convolutions: the largest of the stem; in
    stage 2, all but each block's last; in stages 3 and 4, all, which takes little more
    memory than the blocks' outputs alone.

    Args:
        parent, modules, x: see apply; each constructor has the keyword `name`.
        stage: 1 to 4.
        deep: whether blocks have three convolutions instead of two.
        remat: whether to recompute; False only applies the modules.
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
