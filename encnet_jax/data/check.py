"""Reads every example of a data set once and reports what is there and what is wrong.

    python -m encnet_jax.data.check --config configs/camvid.py

Exit status 0 where all is well, 1 where an example has a problem, 2 for a mistake in
the command.
"""

import sys
from collections.abc import Sequence
from typing import Any

from encnet_jax import cli
from encnet_jax.data import dataset_info, open_dataset
from encnet_jax.data.catalogue import IGNORE_ID, DatasetInfo
from encnet_jax.data.class_weights import RULES, class_weights
from encnet_jax.data.dataset import Source
from encnet_jax.data.sources import FolderSource
from encnet_jax.data.survey import SplitReport, check_split


def open_source(data: Any) -> Source:
    """Opens the source of a configuration without asking that every mask be there."""
    if data.name == "folder":
        return FolderSource(dataset_info(data), data.folder, require_masks=False)
    return open_dataset(data).source


def describe(info: DatasetInfo, split: str, report: SplitReport) -> str:
    """Returns the report as text: sizes, and pixels and images of each class."""
    sizes = ", ".join(
        f"{w}x{h} ({count})" for (w, h), count in report.sizes.most_common(3)
    )
    more = len(report.sizes) - 3
    lines = [
        f"{info.name} {split}: {report.pairs} pairs, {len(report.problems)} problems",
        f"  sizes: {sizes or 'none'}{f' and {more} others' if more > 0 else ''}",
    ]
    if info.task == "classification":
        lines.append(f"  {'id':>3}  {'class':<16} {'images':>7}")
        for i, name in enumerate(info.class_names):
            lines.append(f"  {i:>3}  {name:<16} {report.images[i]:>7}")
    else:
        lines += _pixel_rows(info, report)
    return "\n".join(lines + [f"  problem: {problem}" for problem in report.problems])


def _pixel_rows(info: DatasetInfo, report: SplitReport) -> list[str]:
    lines = [f"  {'id':>3}  {'class':<16} {'pixels':>14} {'share':>8} {'images':>7}"]
    total = max(report.pixels.sum(), 1)
    for i, name in [*enumerate(info.class_names), (IGNORE_ID, "(ignored)")]:
        pixels, share = report.pixels[i], report.pixels[i] / total
        lines.append(
            f"  {i:>3}  {name:<16} {pixels:>14,} {share:>8.3%} {report.images[i]:>7}"
        )
    return lines


def describe_weights(info: DatasetInfo, report: SplitReport) -> str:
    """Returns the weights that loss.class_weighting would give, a rule a line."""
    classes = slice(info.num_classes)
    counts = report.pixels[classes], report.pixels_beside[classes]
    return "\n".join(
        f"  loss.class_weighting={rule} gives {class_weights(rule, *counts)}"
        for rule in RULES
    )


def main(argv: Sequence[str]) -> int:
    """Checks the data set of a configuration; returns the exit status."""
    flags = cli.parse(
        argv,
        lambda flags: cli.define_config(flags, argv),
        about=__doc__,
        required=("config",),
    )
    source, info = open_source(flags.config.data), dataset_info(flags.config.data)
    found_problems = False
    for split in (s for s in source.sizes() if s not in info.unions):
        report = check_split(source, split, num_classes=info.num_classes)
        print(describe(info, split, report))
        is_trained = split == flags.config.data.train_split
        if is_trained and info.task == "segmentation" and report.sizes:
            print(describe_weights(info, report))
        found_problems |= bool(report.problems)
    print("problems found" if found_problems else "no problems found")
    return int(found_problems)


if __name__ == "__main__":
    sys.exit(cli.run(main, sys.argv))
