"""Draws plots for the HTML report: image scores, boundaries, calibration, confusion."""

from collections.abc import Sequence

import numpy as np

from encnet_jax.errors import printable
from encnet_jax.report import figures
from encnet_jax.report.run_files import RunFiles
from encnet_jax.scoring import image_scores
from encnet_jax.scoring.boundary import BAND_WIDTHS_PX


def draw(runs: Sequence[RunFiles]):
    """Returns a figure of four plots, or None if no report has quality scores.

    The plots are a histogram of the mean IoU of single images, the mean IoU near
    contours, a reliability diagram, and the accuracy of the most confident pixels for
    several fractions of all pixels.
    """
    scored = [run for run in runs if "quality" in run.report]
    if not scored:
        return None
    figure = figures.new(figsize=(10, 7.5), layout="constrained")
    grid = figure.subplots(2, 2).ravel()
    for run in scored:
        _draw_run(grid, run)
    grid[0].set(title="mean IoU of single images", xlabel="%", ylabel="images")
    grid[1].set(title="near contours", xlabel="distance, pixels", ylabel="mean IoU, %")
    grid[1].set_xscale("log", base=2)
    # Default labels of a logarithmic axis are formulas, which are not rendered here.
    grid[1].set_xticks(BAND_WIDTHS_PX, labels=map(str, BAND_WIDTHS_PX))
    grid[2].plot([0, 1], [0, 1], ":", color="grey")
    grid[2].set(title="reliability", xlabel="confidence", ylabel="accuracy")
    title = "most confident pixels"
    grid[3].set(title=title, xlabel="fraction kept", ylabel="accuracy")
    for axes in grid:
        axes.grid(alpha=0.3)
    grid[1].legend(fontsize=8)
    return figure


def _draw_run(grid, run: RunFiles) -> None:
    quality = run.report["quality"]
    scores = [100 * image_scores.mean_iou(counts) for counts in run.counts]
    grid[0].hist(scores, bins=np.linspace(0, 100, 21), alpha=0.5, label=run.name)
    widths = [int(width) for width in quality["bands"]]
    near = 100 * np.array(list(quality["bands"].values()), float)
    grid[1].plot(widths, near, ".-", label=run.name)
    reliability = quality["reliability"]
    shown = np.array([reliability["confidence"], reliability["accuracy"]], float)
    shown = shown[:, np.isfinite(shown[0])]
    grid[2].plot(*shown, ".-", label=run.name)
    risk = quality["risk_coverage"]
    kept, accuracy = np.array([risk["kept"], risk["accuracy"]], float)
    grid[3].plot(kept, accuracy, label=run.name)


def draw_confusion(fractions: np.ndarray, class_names: Sequence[str], title: str):
    """Returns a figure of a confusion matrix with class names on both axes.

    Args:
        fractions: f64[C, C] in [0, 1]; rows are labels, columns are predictions.
        class_names: names of the classes.
        title: title of the figure.
    """
    class_names = [*map(printable, class_names)]
    number = len(class_names)
    side = max(4.5, min(16.0, 0.28 * number + 2))
    figure = figures.new(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    # The square root makes rare confusions visible.
    axes.imshow(np.sqrt(fractions), cmap="Blues", vmin=0, vmax=1)
    size = 8 if number <= 40 else 4
    axes.set_xticks(range(number), class_names, rotation=90, fontsize=size)
    axes.set_yticks(range(number), class_names, fontsize=size)
    axes.set(xlabel="prediction", ylabel="label", title=title)
    return figure
