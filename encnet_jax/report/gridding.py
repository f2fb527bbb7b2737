"""Shows which pixels of the receptive field reach the output (gridding).

python -m encnet_jax.report gridding hdc_bigger plain --output gridding.png
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from encnet_jax import cli
from encnet_jax.errors import UserError
from encnet_jax.models.backbones import BACKBONES, blocks
from encnet_jax.models.dilation import NAMES, dilated_rates, plan_stages
from encnet_jax.report import figures
from encnet_jax.report.receptive_field import Gridding, describe

_ZOOM = 33  # Side of the area in the bottom plots, in pixels of the feature map.


class Stack(NamedTuple):
    """The dilated convolutions that one value of `model.dilation` selects.

    Attributes:
        name: the value of `model.dilation`, such as 'hdc_bigger'.
        rates: dilation rates of the convolutions.
        gridding: statistics of the stack's receptive field.
    """

    name: str
    rates: tuple[int, ...]
    gridding: Gridding


def stacks(backbone: str, dilations: Sequence[str]) -> list[Stack]:
    """Returns the stack of dilated convolutions for each value of `model.dilation`.

    Args:
        backbone: name of a backbone, a key of BACKBONES.
        dilations: values of `model.dilation`: names or lists of rates.

    Raises:
        UserError: the backbone or a dilation is unknown, or a list of rates does not
            match the blocks of the backbone.
    """
    if backbone not in BACKBONES:
        known = ", ".join(BACKBONES)
        raise UserError(f"--backbone is {backbone!r}; expected one of: {known}")
    found = []
    for name in dilations:
        rates = dilated_rates(plan_stages(blocks(backbone), 8, name))
        found.append(Stack(name, rates, describe(rates)))
    return found


def table(found: Sequence[Stack]) -> list[str]:
    """Returns the lines of a table: the headings, then the statistics of each stack."""
    width = max(len("dilation"), *(len(stack.name) for stack in found))
    lines = [f"{'dilation':{width}}  field  share  unevenness  M1  M2"]
    for name, _, g in found:
        m1, m2 = (*g.max_distances, g.max_distances[-1])[:2]
        lines.append(
            f"{name:{width}}  {g.receptive_field:5d}  {g.share:5.3f}"
            f"  {g.unevenness:10.2f}  {m1:2d}  {m2:2d}"
        )
    return lines


def draw(found: Sequence[Stack], output: str) -> None:
    """Writes a PNG with one column of three plots per stack.

    From top to bottom, the plots show which input pixels affect the output pixel, the
    number of paths from each input pixel, and the number of paths near the centre. Axes
    are in pixels of the feature map, relative to the output pixel.
    """
    figure = figures.new(figsize=(3.2 * len(found) + 0.8, 9.6), layout="constrained")
    grid = figure.subplots(3, len(found), squeeze=False)
    reach = max(stack.gridding.receptive_field for stack in found) / 2
    for column, (name, _, g) in enumerate(found):
        seen = np.outer(g.paths > 0, g.paths > 0)
        paths = np.outer(g.paths, g.paths) / g.paths.max() ** 2
        rows = (
            (
                1.0 * seen,
                "gray",
                f"{_short(name)}\nreached: {100 * g.share:.1f} %",
                reach,
            ),
            (paths, "viridis", "paths to the output", reach),
            (paths, "viridis", f"unevenness {g.unevenness:.2f}", _ZOOM / 2),
        )
        side = g.receptive_field / 2
        for axes, (values, colours, title, limit) in zip(
            grid[:, column], rows, strict=True
        ):
            axes.imshow(
                values,
                cmap=colours,
                vmin=0,
                vmax=1,
                extent=(-side, side, side, -side),
                # Smoothing avoids moire if screen pixels are as large as the grid.
                interpolation="nearest" if limit < reach else "hanning",
            )
            axes.set(xlim=(-limit, limit), ylim=(limit, -limit), title=title)
            axes.set_facecolor("#b0c4de")  # Outside of the receptive field.
    for axes in grid[:, 0]:
        axes.set_ylabel("feature map pixels")
    figures.save(figure, output, dpi=120)


def _short(name: str) -> str:
    return name if len(name) <= 24 else name[:21] + "..."


def main(argv: Sequence[str]) -> None:
    """Runs the command: draws receptive fields, and prints their statistics."""
    line = cli.CommandLine(argv, __doc__)
    meaning = f"Values of model.dilation: {', '.join(NAMES)}, or lists of rates."
    line.argument("dilation", meaning, several=True, default=list(NAMES))
    line.string("backbone", "Backbone that has the convolutions.", "resnet101")
    line.string("output", "The PNG to write.", "gridding.png")
    args = line.parse()
    figures.check_output(args.output)
    found = stacks(args.backbone, args.dilation)
    draw(found, args.output)
    print("\n".join(table(found)))
    print(f"gridding: {args.output}")
