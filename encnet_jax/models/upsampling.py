"""Checks that dilation rates, DUC cells and image sides are compatible."""

from collections.abc import Mapping

from encnet_jax.errors import UserError
from encnet_jax.models.backbones import blocks
from encnet_jax.models.dilation import plan_stages


def check_upsampling(model_config, sides: Mapping[str, int]) -> None:
    """Checks dilation rates, padding and, for a DUC head, cells and image sides.

    Args:
        model_config: `config.model`; no field is None.
        sides: name of a configuration field -> side of a crop or canvas in pixels.

    Raises:
        UserError: the dilation rates do not match the backbone, the network cannot
            ignore padding, or a DUC head does not fit the stride or a side.
    """
    m = model_config
    # Raises UserError if the rates do not match the backbone.
    plan_stages(blocks(m.backbone), m.output_stride, m.dilation)
    if m.mask_padding and (m.name == "duc" or not m.padded_pool):
        raise UserError(
            "model.mask_padding is True, but DUC heads and stems with"
            " model.padded_pool=False cannot ignore the padding around an image; set"
            " model.mask_padding to False"
        )
    if m.name == "duc":
        _check_duc(m.duc, m.output_stride)
        _check_sides(sides, m.output_stride)


def _check_duc(duc, output_stride: int) -> None:
    cells = [cell for cell in (1, 2, 4) if cell <= output_stride]
    if duc.cell not in cells:
        raise UserError(
            f"model.duc.cell is {duc.cell}; expected one of:"
            f" {', '.join(map(str, cells))} (at most model.output_stride,"
            f" {output_stride})"
        )
    rates = tuple(duc.rates)
    whole = all(type(rate) is int and rate > 0 for rate in rates)
    if not rates or not whole or len(set(rates)) < len(rates):
        raise UserError(
            f"model.duc.rates is {rates}; expected one or more different whole numbers"
            " above 0, such as (6, 12, 18, 24)"
        )


def _check_sides(sides: Mapping[str, int], stride: int) -> None:
    """Raises UserError if a side is not a multiple of `stride`, both in pixels."""
    for field, side in sides.items():
        if side % stride:
            below = max(side // stride, 1) * stride
            raise UserError(
                f"{field} is {side}, but a DUC head predicts cells of {stride} pixels;"
                f" expected a multiple of {stride}, such as {below} or {below + stride}"
            )
