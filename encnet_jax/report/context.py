"""Draws the channels that EncNet attends to, and the codeword of each position.

python -m encnet_jax.report context runs/ade20k kitchen.jpg street.jpg
"""

import os
import pathlib
from collections.abc import Sequence

import numpy as np
from etils import epath

from encnet_jax import cli
from encnet_jax.errors import UserError, printable
from encnet_jax.inference.context import SceneContext
from encnet_jax.inference.model import Model, load
from encnet_jax.report import figures

NUM_CHANNELS = 3  # Number of most attended, and of least attended channels shown.
NUM_CLASSES = 8  # Number of classes shown: the most probable ones.
_DIFFERENCES = "differences"  # File name of the figure that compares images.
NUM_DIFFERENT = 20  # Number of channels shown: those whose gates differ most.


def describe(model: Model, images: Sequence[str | os.PathLike]) -> list[SceneContext]:
    """Returns the Context Encoding Module's intermediate values for each image.

    Args:
        model: a loaded EncNet.
        images: image files.

    Raises:
        UserError: an image cannot be read, or the network has no Context Encoding
            Module.
    """
    return [model.context(image) for image in images]


def draw_image(image: np.ndarray, context: SceneContext, class_names, title: str):
    """Returns a figure of the Context Encoding Module's values for one image.

    Row 1 shows the image and the channels with the largest gates. Row 2 shows the
    codeword with the largest weight at each position, and the channels with the
    smallest gates. Row 3 shows all gates, the mean weight of each codeword, and the
    probabilities of classes.

    Args:
        image: uint8[H, W, 3].
        context: the module's values for the image.
        class_names: names of the classes.
        title: title of the figure.
    """
    figure = figures.new(figsize=(2.8 * (NUM_CHANNELS + 1), 7.5), layout="constrained")
    grid = figure.subplots(3, NUM_CHANNELS + 1)
    figure.suptitle(title)
    order = np.argsort(context.gates, kind="stable")
    for axes, channels, word in (
        (grid[0][1:], order[::-1][:NUM_CHANNELS], "most"),
        (grid[1][1:], order[:NUM_CHANNELS], "least"),
    ):
        for axis, channel in zip(axes, channels, strict=False):
            axis.imshow(context.features[..., channel], cmap="viridis")
            gate = f"gate {context.gates[channel]:.3f}"
            axis.set_title(f"{word} attended\nchannel {channel}, {gate}", fontsize=8)
    grid[0][0].imshow(image)
    grid[0][0].set_title("image", fontsize=8)
    if context.assignment is not None:
        grid[1][0].imshow(
            context.assignment.argmax(-1), cmap="nipy_spectral", interpolation="nearest"
        )
        grid[1][0].set_title("codeword of each position", fontsize=8)
    for axis in grid[:2].ravel():
        axis.set_axis_off()
    _draw_bars(grid[2], context, class_names)
    return figure


def _draw_bars(axes, context: SceneContext, class_names) -> None:
    axes[0].plot(np.sort(context.gates)[::-1])
    axes[0].set(title="gates, sorted", xlabel="channels", ylim=(0, 1))
    usage = context.codeword_usage()
    if usage is not None:
        axes[1].bar(np.arange(len(usage)), usage)
        axes[1].set(title="fraction of positions", xlabel="codeword")
    if context.presence is not None:
        top = np.argsort(-context.presence, kind="stable")[:NUM_CLASSES][::-1]
        names = [printable(class_names[i]) for i in top]
        axes[2].barh(names, context.presence[top])
        axes[2].set(title="probability of presence", xlim=(0, 1))
        axes[2].tick_params(labelsize=7)
    shown = (True, usage is not None, context.presence is not None)
    for axis, used in zip(axes, (*shown, *[False] * len(axes)), strict=False):
        axis.title.set_fontsize(8)
        if not used:
            axis.set_axis_off()


def draw_differences(contexts: Sequence[SceneContext], names: Sequence[str]):
    """Returns a figure that compares the gates and codewords of several images.

    The figure shows the gates that differ most between the images.

    Args:
        contexts: the Context Encoding Module's values for two or more images.
        names: names of the images.
    """
    gates = np.stack([context.gates for context in contexts])
    spread = gates.max(0) - gates.min(0)
    channels = np.argsort(-spread, kind="stable")[:NUM_DIFFERENT]
    with_codes = contexts[0].assignment is not None
    height = 1.2 + 0.45 * len(contexts)
    figure = figures.new(figsize=(10, height * (1 + with_codes)), layout="constrained")
    axes = figure.subplots(1 + with_codes, 1, squeeze=False)[:, 0]
    labels = [name for name in names]
    shown = axes[0].imshow(gates[:, channels], vmin=0, vmax=1, aspect="auto")
    figure.colorbar(shown, ax=axes[0])
    axes[0].set_xticks(range(len(channels)), channels, rotation=90, fontsize=7)
    axes[0].set_title("gates that differ most between the images, by channel")
    if with_codes:
        usage = np.stack([np.asarray(each.codeword_usage()) for each in contexts])
        shown = axes[1].imshow(usage, vmin=0, aspect="auto", cmap="magma")
        figure.colorbar(shown, ax=axes[1])
        axes[1].set(title="fraction of positions by codeword", xlabel="codeword")
    for axis in axes:
        axis.set_yticks(range(len(labels)), labels, fontsize=7)
    return figure


def main(argv: Sequence[str]) -> None:
    """Runs the command: draws a figure per image, and a figure that compares images."""
    line = cli.CommandLine(argv, __doc__)
    line.argument("run_image", "Workdir of an EncNet, then image files.", several=True)
    line.checkpoint()
    line.string("output", "Folder for the PNGs.", "context")
    args = line.parse()
    run, *images = args.run_image
    if not images:
        raise UserError(
            "no images are given; expected the workdir of a run, then image files"
        )
    folder = epath.Path(args.output)
    names = [printable(pathlib.Path(image).name) for image in images]
    twice = {name for name in names if names.count(name) > 1 or name == _DIFFERENCES}
    if twice:
        raise UserError(
            f"several figures would have the name {min(twice)}.png; expected images"
            f" with distinct names other than {_DIFFERENCES!r}: rename one image"
        )
    for name in (*names, _DIFFERENCES):  # Checked before minutes of work.
        figures.check_output(folder / f"{name}.png")
    model = load(run, args.checkpoint, announce=True)
    contexts = describe(model, images)
    for name, path, context in zip(names, images, contexts, strict=True):
        figure = draw_image(model.read(path), context, model.class_names, name)
        figures.save(figure, folder / f"{name}.png", dpi=110)
    if len(contexts) > 1:
        figure = draw_differences(contexts, names)
        figures.save(figure, folder / f"{_DIFFERENCES}.png", dpi=110)
    print(f"step {model.step}, {len(contexts)} images: {folder}")
