"""Plots training and validation errors of runs, like Figure 7 of the EncNet paper.

python -m encnet_jax.report curves runs/cifar10-curves runs/cifar10-resnet64d-curves
"""

import collections
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from etils import epath

from encnet_jax import cli
from encnet_jax import config as config_lib
from encnet_jax.errors import UserError, printable
from encnet_jax.report import figures
from encnet_jax.report.events import read_scalars
from encnet_jax.storage import lookup


class Curves(NamedTuple):
    """The error curves of a run.

    Attributes:
        name: name of the run.
        train, val: training and validation curve; each is a pair (epochs f64[N],
            errors f64[N] in [0, 1]).
    """

    name: str
    train: tuple[np.ndarray, np.ndarray]
    val: tuple[np.ndarray, np.ndarray]


def load_curves(workdir: str) -> Curves:
    """Reads the error curves of a run.

    A point of the validation curve is the error at one step. A point of the training
    curve is the mean error of the training batches that were logged since the previous
    validation; these batches are augmented, and batch norms are in training mode.

    Args:
        workdir: folder of a run, finished or not.

    Raises:
        UserError: the folder is not a classification run with a validation split, or
            no training or validation errors have been logged.
    """
    file = epath.Path(workdir) / "config.json"
    if not lookup.exists(file):
        raise UserError(f"{workdir} has no config.json: give the workdir of a run")
    config = config_lib.read_saved(file)
    scalars = read_scalars(workdir)
    train = scalars.get("train/error", {})
    val = scalars.get(f"val/{config.train.val_protocol}/error", {})
    if not (train and val):
        raise UserError(
            f"{workdir} has logged {len(train)} training errors and {len(val)}"
            " validation errors; expected at least one of each: give a classification"
            " run with a validation split, such as a run of --config"
            " configs/cifar10.py:resnet64d,curves"
        )
    steps_per_epoch = config.train.total_steps / config.train.epochs
    return Curves(
        printable(pathlib.Path(workdir).name),
        _in_epochs(_mean_between(train, list(val)), steps_per_epoch),
        _in_epochs(val, steps_per_epoch),
    )


def _mean_between(values: dict[int, float], bounds: list[int]) -> dict[int, float]:
    """Averages values over intervals of steps.

    Args:
        values: {step: value}.
        bounds: last step of each interval, ascending.

    Returns:
        {last step of an interval: mean}; intervals without values are omitted.
    """
    groups = collections.defaultdict(list)
    for step, value in values.items():
        place = np.searchsorted(bounds, step)
        if place < len(bounds):
            groups[bounds[place]].append(value)
    return {bound: float(np.mean(group)) for bound, group in groups.items()}


def _in_epochs(values: dict[int, float], steps_per_epoch: float):
    return np.array(list(values)) / steps_per_epoch, np.array(list(values.values()))


def draw_curves(runs: Sequence[Curves], output: str) -> None:
    """Plots validation errors (solid) and training errors (dashed) to a PNG."""
    figure = figures.new(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for number, run in enumerate(runs):
        for kind, points, style in (("val", run.val, "-"), ("train", run.train, "--")):
            epochs, errors = points
            colour, label = f"C{number % 10}", f"{run.name} {kind}"
            axes.plot(epochs, 100 * errors, style, color=colour, label=label)
    axes.set_xlabel("epoch")
    axes.set_ylabel("error (%)")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    figures.save(figure, output, dpi=120)


def main(argv: Sequence[str]) -> None:
    """Runs the command: plots the errors of runs, and prints the last error of each."""
    line = cli.CommandLine(argv, __doc__)
    line.argument("run", "Workdirs of classification runs.", several=True)
    line.string("output", "The PNG to write.", "curves.png")
    args = line.parse()
    runs = [load_curves(workdir) for workdir in args.run]
    draw_curves(runs, args.output)
    for run in runs:
        epochs, errors = run.val
        print(
            f"{run.name}: validation error {100 * errors[-1]:.2f} % at epoch"
            f" {epochs[-1]:.2f}, train error {100 * run.train[1][-1]:.2f} %"
        )
    print(f"curves: {args.output}")
