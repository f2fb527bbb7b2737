"""Strides and rates of backbones, by name and as lists."""

import pytest

from encnet_jax.errors import UserError
from encnet_jax.models.dilation import dilated_rates, plan_stages

RESNET101 = (3, 4, 23, 3)


def rates(blocks, dilation, output_stride=8):
    return dilated_rates(plan_stages(blocks, output_stride, dilation))


@pytest.mark.parametrize(
    ("dilation", "expected"),
    [
        ("plain", (1,) + (2,) * 22 + (2, 4, 4)),
        ("none", (1,) * 26),
        ("hdc_rf", (1, 2, 3) * 7 + (2, 2, 3, 4, 5)),
        ("hdc_bigger", (1, 2, 5, 9) * 5 + (1, 2, 5, 5, 9, 17)),
        ("hdc_released", (2, 2, 5, 9) + (1, 2, 5, 9) * 4 + (1, 2, 5, 5, 9, 17)),
    ],
)
def test_rates_of_resnet101(dilation, expected):
    assert rates(RESNET101, dilation) == expected


@pytest.mark.parametrize(
    ("blocks", "dilation", "expected"),
    [
        ((3, 8, 36, 3), "hdc_rf", (1, 2, 3) * 12 + (3, 4, 5)),
        ((3, 4, 6, 3), "hdc_bigger", (1, 2, 5, 9, 1, 2, 5, 9, 17)),
        ((2, 2, 2, 2), "hdc_released", (2, 2, 5, 9)),
        ((1, 1, 1, 1), "hdc_bigger", (1, 5)),
    ],
)
def test_other_depths_repeat_the_group_and_cut_it(blocks, dilation, expected):
    assert rates(blocks, dilation) == expected


def test_plain_blocks_of_two_convolutions():
    stages = plan_stages((2, 2, 2, 2), 8, "plain")
    assert [stage.stride for stage in stages] == [1, 2, 1, 1]
    assert stages[1].rates == ((1, 1), (1, 1))
    assert stages[2].rates == ((1, 2), (2, 2))
    assert stages[3].rates == ((2, 4), (4, 4))
    assert plan_stages((2, 2, 2, 2), 8, "hdc_rf")[3].rates == ((3, 3), (4, 4))


@pytest.mark.parametrize(
    ("output_stride", "strides", "expected"),
    [(16, [1, 2, 2, 1], (1, 2)), (32, [1, 2, 2, 2], ())],
)
def test_coarser_strides(output_stride, strides, expected):
    stages = plan_stages((2, 2, 2, 2), output_stride)
    assert [stage.stride for stage in stages] == strides
    assert dilated_rates(stages) == expected
    assert rates((2, 2, 2, 2), "none", output_stride) == (1,) * len(expected)


@pytest.mark.parametrize("dilation", ["3,1,2/7", ((3, 1, 2), (7,)), [[3, 1, 2], [7]]])
def test_explicit_rates(dilation):
    assert rates((1, 1, 3, 1), dilation) == (3, 1, 2, 7)
    assert rates((1, 1, 1, 3), "4,5,6", 16) == (4, 5, 6)


@pytest.mark.parametrize(
    ("dilation", "output_stride", "message"),
    [
        ("hdc", 8, "model.dilation is 'hdc'; expected one of plain, none, hdc_rf"),
        ("1,2/x", 8, "'1,2/x'; expected one of plain"),
        ("1,2/5,9,17", 8, "lists 2 and 3 rates, .* have 2 and 2 blocks; expected one"),
        ("1,2", 8, "lists 2 rates, .* have 2 and 2 blocks; expected one"),
        ("1,2/5,9", 32, "dilates with model.output_stride 32 have no blocks"),
        ("1,0/5,9", 8, "expected rates that are whole numbers above 0"),
        (((1, 2.5), (5, 9)), 8, "expected rates that are whole numbers above 0"),
        ((1, 2), 8, "expected one list of rates for each dilated stage"),
        ("hdc_rf", 16, "is 16, .* 'hdc_rf' dilates stages 3 and 4; expected .* 8"),
    ],
)
def test_invalid_rates_are_reported_in_one_line(dilation, output_stride, message):
    with pytest.raises(UserError, match=message) as error:
        plan_stages((2, 2, 2, 2), output_stride, dilation)
    assert "\n" not in str(error.value)
