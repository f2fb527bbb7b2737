"""Reads every example of a data set once, and reports contents and problems.

    python -m encnet_jax.data.check --config configs/camvid.py

Exit status: 0 without problems; 1 with problems; 2 if the data set cannot be opened, or
if the command or the configuration is wrong.
"""

from collections.abc import Sequence
from typing import Any

from encnet_jax import cli
from encnet_jax.data import dataset_info, open_dataset
from encnet_jax.data.check import teachable
from encnet_jax.data.check.class_weights import RULES, check_length, class_weights
from encnet_jax.data.check.survey import SplitReport, check_split
from encnet_jax.data.pipelines.dataset import Source
from encnet_jax.data.sets import folder
from encnet_jax.data.sources.folders import FolderSource
from encnet_jax.data.sources.info import DatasetInfo
from encnet_jax.errors import printable
from encnet_jax.labels import IGNORE_LABEL


def open_source(data: Any) -> Source:
    """Opens the data set of a configuration.

    If data.name is 'folder', the data set is opened even if masks are missing. An error
    is raised only when an image without a mask is read.

    Args:
        data: section `data` of the configuration.
    """
    if data.name == "folder":
        return folder.open_source(dataset_info(data), data, require_masks=False)
    return open_dataset(data).source


def describe(info: DatasetInfo, split: str, report: SplitReport) -> str:
    """Formats the report of a split as text: image sizes, class counts, problems."""
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
    lines += [f"  problem: {printable(problem)}" for problem in report.problems]
    return "\n".join(lines)


def judge(info: DatasetInfo, split: str, report: SplitReport) -> list[str]:
    """Returns notes on a split, such as absent classes; each note is a line of text.

    If a network cannot learn from the labels, the reason is appended to
    report.problems.
    """
    if info.num_classes < 2:
        report.problems.append(teachable.only_class(info))
    if info.task != "segmentation" or split in info.unlabelled or not report.sizes:
        return []
    found = teachable.problem(info, report.pixels)
    if found and found not in report.problems:
        report.problems.append(found)
    notes, absent = [], teachable.absent_classes(info, report.pixels)
    if absent and not found:
        some = ", ".join(absent[:5]) + (", ..." if len(absent) > 5 else "")
        share = f"{len(absent)} of {info.num_classes} classes"
        notes.append(f"{share} never occur: {some}")
    if report.turned:
        notes.append(f"EXIF orientation mirrors or rotates {report.turned} images")
    return [f"  note: {note}" for note in notes]


def _pixel_rows(info: DatasetInfo, report: SplitReport) -> list[str]:
    lines = [f"  {'id':>3}  {'class':<16} {'pixels':>14} {'share':>8} {'images':>7}"]
    total = max(report.pixels.sum(), 1)
    for i, name in [*enumerate(info.class_names), (IGNORE_LABEL, "(ignored)")]:
        pixels, share = report.pixels[i], report.pixels[i] / total
        lines.append(
            f"  {i:>3}  {name:<16} {pixels:>14,} {share:>8.3%} {report.images[i]:>7}"
        )
    return lines


def weights_by_rule(info: DatasetInfo, report: SplitReport) -> list[str]:
    """Returns one line of text per rule of loss.class_weighting: the class weights.

    The list is empty for classification.
    """
    if info.task != "segmentation":
        return []
    classes = slice(info.num_classes)
    counts = report.pixels[classes], report.pixels_beside[classes]
    return [
        f"  loss.class_weighting={rule} gives {class_weights(rule, *counts)}"
        for rule in RULES
    ]


def main(argv: Sequence[str]) -> int:
    """Checks the data set of a configuration; returns the exit status."""
    line = cli.CommandLine(argv, __doc__)
    line.config(required=True)
    flags = line.parse()
    source, info = open_source(flags.config.data), dataset_info(flags.config.data)
    for error in getattr(source, "missing", {}).values():
        raise error
    check_length(flags.config.loss.class_weights, info)
    found_problems = False
    for split in (s for s in source.sizes() if s not in info.unions):
        report = check_split(source, split, num_classes=info.num_classes)
        if isinstance(source, FolderSource):
            report.problems += source.left_out(split)
        notes = judge(info, split, report)
        if split == flags.config.data.train_split and report.sizes:
            notes += weights_by_rule(info, report)
        print("\n".join([describe(info, split, report), *notes]))
        found_problems |= bool(report.problems)
    data = flags.config.data
    same = teachable.shared_files(source, data.train_split, data.val_split)
    if same:
        print(f"problem: {same}")
        found_problems = True
    print("problems found" if found_problems else "no problems found")
    return int(found_problems)


if __name__ == "__main__":
    cli.start(main)
