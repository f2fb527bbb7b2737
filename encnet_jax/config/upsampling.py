"""Whether rates, cells and sides fit each other."""

from encnet_jax.errors import UserError
from encnet_jax.models.dilation import plan_stages
from encnet_jax.models.resnet import BACKBONES


def check_upsampling(config) -> None:
    """Raises UserError if the rates do not fit the backbone, or a DUC head the crop.

    Args:
        config: every field has a value.
    """
    if config.task != "segmentation":
        return
    m = config.model
    # Raises UserError where the rates do not fit.
    plan_stages(BACKBONES[m.backbone].blocks, m.output_stride, m.dilation)
    if m.mask_padding and (m.name == "duc" or not m.padded_pool):
        raise UserError(
            "model.mask_padding is True, but DUC heads and stems with"
            " model.padded_pool=False cannot leave out the canvas around an image:"
            " wanted False"
        )
    if m.name == "duc":
        _check_duc(m.duc, m.output_stride)
        _check_sides(config)


def _check_duc(duc, output_stride: int) -> None:
    cells = [cell for cell in (1, 2, 4) if cell <= output_stride]
    if duc.cell not in cells:
        raise UserError(
            f"model.duc.cell is {duc.cell}, wanted one of: {', '.join(map(str, cells))}"
            f" (cells of a featuremap of output stride {output_stride})"
        )
    rates = tuple(duc.rates)
    whole = all(type(rate) is int and rate > 0 for rate in rates)
    if not rates or not whole or len(set(rates)) < len(rates):
        raise UserError(
            f"model.duc.rates is {rates}, wanted one or more different whole rates"
            " above 0, such as (6, 12, 18, 24)"
        )


def _check_sides(config) -> None:
    """A cell of the featuremap is predicted whole, so that sides have to hold it."""
    stride = config.model.output_stride
    sides = {
        "data.crop_size": config.data.crop_size,
        "eval.crop_size": config.eval.crop_size,
        "eval.bucket": config.eval.bucket,
    }
    for field, side in sides.items():
        if side % stride:
            below = max(side // stride, 1) * stride
            raise UserError(
                f"{field} is {side}, and a DUC head predicts cells of {stride} pixels:"
                f" wanted a multiple, such as {below} or {below + stride}"
            )
