"""Checks dilation rates, padding and image sizes against the backbone and the head."""

from collections.abc import Mapping

from encnet_jax.errors import UserError
from encnet_jax.models.backbones import blocks
from encnet_jax.models.dilation import plan_stages


def check_upsampling(model_config, sides: Mapping[str, int]) -> None:
    """Checks dilation rates, padding and the requirements of a DUC head.

    Args:
        model_config: `config.model`; no field is None.
        sides: {name of a configuration field: value}; each value is the height or the
            width of a crop or of a padded image, in pixels.

    Raises:
        UserError: the dilation rates do not match the backbone; model.mask_padding is
            True, but the network cannot ignore padding; a field of the DUC head has an
            invalid value; or a DUC head is used, and a value of `sides` is not a
            multiple of the output stride.
    """
    m = model_config
    # Raises UserError if the rates do not match the backbone.
    plan_stages(blocks(m.backbone), m.output_stride, m.dilation)
    if m.mask_padding and (m.name == "duc" or not m.padded_pool):
        raise UserError(
            "model.mask_padding is True, but the network cannot ignore the padding of"
            " an image, because it has a DUC head or model.padded_pool is False; set"
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
            f"model.duc.rates is {rates}; expected one or more distinct whole numbers"
            " above 0, such as (6, 12, 18, 24)"
        )


def _check_sides(sides: Mapping[str, int], stride: int) -> None:
    """Raises UserError if a height or width is not a multiple of `stride`."""
    for field, side in sides.items():
        if side % stride:
            below = max(side // stride, 1) * stride
            raise UserError(
                f"{field} is {side}, but a DUC head predicts blocks of"
                f" {stride}x{stride} pixels; expected a multiple of {stride}, such as"
                f" {below} or {below + stride}"
            )
