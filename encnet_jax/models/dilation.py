"""Computes the strides and dilation rates of a backbone's blocks."""

from collections.abc import Sequence
from typing import NamedTuple

from encnet_jax.errors import UserError

# Rates of stages 3 and 4; repeated or cut to the number of blocks in the stage.
_CYCLES = {
    "none": ((1,), (1,)),
    "hdc_rf": ((1, 2, 3), (3, 4, 5)),
    "hdc_bigger": ((1, 2, 5, 9), (5, 9, 17)),
    "hdc_released": ((1, 2, 5, 9), (5, 9, 17)),
}
# The last two of the 23 blocks of ResNet-101's stage 3 do not fill a group of three.
_RF_OF_23_BLOCKS = (1, 2, 3) * 7 + (2, 2)
NAMES = ("plain", *_CYCLES)


class Stage(NamedTuple):
    """Stride and dilation rates of one stage of a backbone.

    Attributes:
        stride: stride of the first block of the stage.
        rates: two dilation rates for each block, of the first and of the second 3x3
            convolution; bottlenecks use only the first rate.
    """

    stride: int
    rates: tuple[tuple[int, int], ...]


def plan_stages(
    blocks: Sequence[int],
    output_stride: int,
    dilation: str | Sequence[Sequence[int]] = "plain",
) -> tuple[Stage, ...]:
    """Returns the stride and the dilation rates of each of a backbone's four stages.

    Stages whose stride would exceed `output_stride` keep the resolution of their input
    and use dilated convolutions instead. With 'plain', each dilated stage has twice the
    rate of the previous stage; only the first 3x3 convolution of the stage keeps the
    rate of the previous stage. All other values of `dilation` define a rate for each
    block.

    Args:
        blocks: number of blocks in each of the four stages.
        output_stride: 8: stages 3 and 4 are dilated instead of strided; 16: only stage
            4; 32: none.
        dilation: 'plain'; 'none' (all rates are 1); 'hdc_rf', 'hdc_bigger' or
            'hdc_released' (only with `output_stride` 8); or one rate for each block of
            the dilated stages, as lists or as text, such as '1,2,5,9,1,2/5,9,17'.

    Raises:
        UserError: the name is unknown, or the rates do not match the stages.

    Source: Wang et al., WACV 2018, section 3.2 and Table 4; 'hdc_released' is
    ResNet_DUC_HDC_CityScapes of the authors' code. The authors list rates for stages of
    23 and 3 blocks; for other depths this package repeats or truncates the lists.
    """
    strides, reached = [1], 4
    for _ in blocks[1:]:
        strides.append(2 if reached < output_stride else 1)
        reached *= strides[-1]
    kept = [i for i, stride in enumerate(strides) if i and stride == 1]
    rates = {i: ((1, 1),) * blocks[i] for i in range(len(blocks))}
    if dilation == "plain":
        for rate, i in enumerate(kept):
            before, after = 2**rate, 2 ** (rate + 1)
            rates[i] = ((before, after),) + ((after, after),) * (blocks[i] - 1)
    else:
        listed = _listed([blocks[i] for i in kept], output_stride, dilation)
        for i, of_stage in zip(kept, listed, strict=True):
            rates[i] = tuple((rate, rate) for rate in of_stage)
    return tuple(Stage(stride, rates[i]) for i, stride in enumerate(strides))


def dilated_rates(stages: Sequence[Stage]) -> tuple[int, ...]:
    """Returns the rate of the first 3x3 convolution of each block in dilated stages.

    Args:
        stages: result of plan_stages.
    """
    return tuple(
        first for stage in stages[1:] if stage.stride == 1 for first, _ in stage.rates
    )


def _listed(kept_blocks: list[int], output_stride: int, dilation) -> list[list[int]]:
    """Returns one list of rates for each dilated stage, one rate for each block.

    Args:
        kept_blocks: number of blocks in each dilated stage.
        output_stride, dilation: see plan_stages; `dilation` is not 'plain'.
    """
    if dilation == "none":
        return [[1] * count for count in kept_blocks]
    if isinstance(dilation, str) and dilation in _CYCLES:
        if len(kept_blocks) != 2:
            raise UserError(
                f"model.output_stride is {output_stride}, but model.dilation"
                f" {dilation!r} dilates stages 3 and 4; expected"
                " model.output_stride 8 or another model.dilation"
            )
        return [_by_name(dilation, i, n) for i, n in enumerate(kept_blocks)]
    lists = _parsed(dilation) if isinstance(dilation, str) else list(dilation)
    if not all(isinstance(rates, (list, tuple)) for rates in lists):
        raise UserError(
            f"model.dilation is {dilation!r}; expected one list of rates for each"
            " dilated stage"
        )
    counts = [len(rates) for rates in lists]
    if counts != kept_blocks:
        raise UserError(
            f"model.dilation lists {_joined(counts)} rates, but the stages that this"
            f" backbone dilates with model.output_stride {output_stride} have"
            f" {_joined(kept_blocks)} blocks; expected one rate for each block"
        )
    if not all(type(rate) is int and rate > 0 for rates in lists for rate in rates):
        raise UserError(
            f"model.dilation is {dilation!r}; expected rates that are whole numbers"
            " above 0"
        )
    return [list(rates) for rates in lists]


def _by_name(name: str, index: int, count: int) -> list[int]:
    cycle = _CYCLES[name][index]
    if (name, index, count) == ("hdc_rf", 0, len(_RF_OF_23_BLOCKS)):
        return list(_RF_OF_23_BLOCKS)
    rates = [cycle[i % len(cycle)] for i in range(count)]
    if (name, index) == ("hdc_released", 0):
        rates[0] = 2
    return rates


def _parsed(text: str) -> list[list[int]]:
    try:
        return [[int(rate) for rate in stage.split(",")] for stage in text.split("/")]
    except ValueError:
        raise UserError(
            f"model.dilation is {text!r}; expected one of {', '.join(NAMES)}, or a rate"
            " for each dilated block, stage by stage, such as '1,2,5,9,1,2/5,9,17'"
        ) from None


def _joined(counts: Sequence[int]) -> str:
    return " and ".join(map(str, counts)) or "no"
