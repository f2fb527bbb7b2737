"""One table of training runs: which network learns better, on equal budgets.

python -m benchmarks.learning --runs camvid-encnet,camvid-fcn --seeds 0,1,2
python -m benchmarks.learning --plot scenes
python -m benchmarks.learning --compare nyu-encnet-from-mini,nyu-fcn-from-mini

A run is a row of benchmarks.learning_rows and a seed. It is trained by `train.py` and
scored by `eval.py` in processes of their own, under WORKDIR/ROW-seedN, and never
repeated: the same command resumes an interrupted run. The first table has all finished
runs, with mean and spread; the second the differences between runs of the same seed,
with the standard error of their mean. Both include the runs that are recorded in
learning_results.json; --record adds the finished ones to it. --compare adds the
differences of single classes, and, from finished runs, the images in which one row
predicts fewer absent classes than the other. The plot, WORKDIR/FIELD-NAME.png, is over
the weight of the SE-loss or the number of codewords; it has the seeds that all finished
rows share.

Rows nyu-* and mini-* read DATA_DIR/NYUv2/{train,val}/{images,masks} and
DATA_DIR/mini_imagenet/{train,val}/CLASS; see docs/learning.md.
"""

import argparse
import json
import pathlib
import re
import statistics
import subprocess
import sys

import numpy as np
from etils import epath

from benchmarks import learning_record
from benchmarks.learning_record import Reports
from benchmarks.learning_rows import PAIRS, RUNS, SWEEPS
from encnet_jax import sweep


def run_one(row: str, seed: int, folder: pathlib.Path, data_dir: str) -> None:
    """Trains and scores one run, unless it is done; SystemExit where either fails."""
    workdir = folder / f"{row}-seed{seed}"
    if (workdir / "report.json").exists():
        return
    spec, *changes = RUNS[row]
    own = [f"--config.seed={seed}", f"--config.data.data_dir={data_dir}"]
    own.append("--config.train.num_pictures=0")
    changes = [c.format(workdir=folder, data_dir=data_dir) for c in changes]
    for program, flags in (
        ("train.py", ["--config", spec, *changes, *own]),
        ("eval.py", []),
    ):
        command = [sys.executable, program, "--workdir", str(workdir), *flags]
        status = subprocess.run(command).returncode
        if status:
            raise SystemExit(
                f"{row}, seed {seed}: {program} ended with status {status}; what is"
                " finished is kept, and the same command continues"
            )


def finished(folder: pathlib.Path) -> Reports:
    """Returns the reports of each row by seed, of however many seeds there are."""
    found: Reports = {}
    for path in sorted(folder.glob("*-seed*/report.json")):
        row, seed = re.fullmatch(r"(.+)-seed(\d+)", path.parent.name).groups()
        report = json.loads(path.read_text())
        for counts in path.parent.glob("images-val-single-0.npz"):
            report["val/single/absent_classes"] = absent_classes(counts)
        found.setdefault(row, {})[int(seed)] = report
    return {row: dict(sorted(seeds.items())) for row, seeds in found.items()}


def absent_classes(path: pathlib.Path) -> float:
    """Returns the fraction of pixels predicted as a class that their image lacks.

    Args:
        path: counts of single images; see encnet_jax.scoring.image_scores.
    """
    _, absent, predicted = _counts(path)
    return float(absent.sum() / predicted.sum())


def _counts(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns ids [N], pixels of absent classes [N, C], predicted pixels [N, C]."""
    with np.load(path) as arrays:
        _, labelled, predicted = np.moveaxis(arrays["counts"], 1, 0)
        return arrays["ids"], np.where(labelled == 0, predicted, 0), predicted


def score(report: dict, name: str) -> float | None:
    """Returns a score in percent, whatever the protocol; None if it has none."""
    found = [x for key, x in report.items() if key.endswith(f"/{name}")]
    return 100 * found[0] if found else None


def table(reports: Reports) -> str:
    """Returns a Markdown table: mean IoU in % of each seed, means of other scores.

    'presence' is the mean average precision of predicted class presence, 'absent' the
    fraction of pixels predicted as a class that their image lacks. Classifiers are left
    out.
    """
    heading = "run | seeds | mean IoU %, of each | mean | spread | pixel accuracy %"
    lines = [
        f"| {heading} | presence % | absent % |",
        "| --- | --: | --- | --: | --: | --: | --: | --: |",
    ]
    others = ("pixel_accuracy", "presence_ap", "absent_classes")
    for row, found in sorted(reports.items()):
        ious = [score(report, "mean_iou") for report in found.values()]
        if None in ious:
            continue
        spread = f"{statistics.stdev(ious):.1f}" if len(ious) > 1 else ""
        each = ", ".join(f"{iou:.1f}" for iou in ious)
        cells = []
        for name in others:
            values = [score(report, name) for report in found.values()]
            cells.append("" if None in values else f"{statistics.mean(values):.1f}")
        lines.append(
            f"| {row} | {len(ious)} | {each} | {statistics.mean(ious):.1f} | {spread}"
            f" | {' | '.join(cells)} |"
        )
    return "\n".join(lines)


def difference(values: list[float]) -> str:
    """Returns '1.25 ± 0.30': the mean and its standard error; only the mean of one."""
    mean = f"{statistics.mean(values):.2f}"
    if len(values) < 2:
        return mean
    return f"{mean} ± {statistics.stdev(values) / len(values) ** 0.5:.2f}"


def pair_table(reports: Reports) -> str:
    """Returns the differences of PAIRS by seed, in points, as a Markdown table.

    'pixels' is the pixel accuracy, 'small' the mean IoU of objects with fewer pixels
    than eval.small_object_px; 'absent' see `table`. A cell is empty if a report lacks
    the score.
    """
    names = ("mean_iou", "pixel_accuracy", "mean_iou_small", "absent_classes")
    lines = [
        "| difference | seeds | of each | mean IoU | pixels | small | absent |",
        "| --- | --- | --- | --: | --: | --: | --: |",
    ]
    for row, baseline in PAIRS:
        ours, theirs = reports.get(row, {}), reports.get(baseline, {})
        seeds = [seed for seed in ours if seed in theirs]
        if not seeds:
            continue
        cells = []
        for name in names:
            pairs = [(score(ours[s], name), score(theirs[s], name)) for s in seeds]
            scored = all(None not in pair for pair in pairs)
            cells.append([a - b for a, b in pairs] if scored else [])
        each = ", ".join(f"{x:.2f}" for x in cells[0])
        means = " | ".join(difference(x) if x else "" for x in cells)
        which = ", ".join(map(str, seeds))
        lines.append(f"| {row} - {baseline} | {which} | {each} | {means} |")
    return "\n".join(lines)


def class_table(reports: Reports, row: str, baseline: str) -> str:
    """Returns the differences of each class's IoU by seed, the largest first.

    'presence' is the average precision of the row's predicted class presence; the last
    line has its rank correlation with the differences.

    Raises:
        SystemExit: the rows have no finished seed in common.
    """
    ours, theirs = reports.get(row, {}), reports.get(baseline, {})
    seeds = [seed for seed in ours if seed in theirs]
    if not seeds:
        raise SystemExit(f"{row} and {baseline} have no finished seed in common")
    lines = [
        f"| class | {row} IoU % | {baseline} IoU % | difference, points | presence % |",
        "| --- | --: | --: | --: | --: |",
    ]
    rows: list[tuple[float, str]] = []
    gained, precise = [], []
    for name in ours[seeds[0]]["iou"]:
        pairs = [(ours[s]["iou"][name], theirs[s]["iou"][name]) for s in seeds]
        if any(None in pair for pair in pairs):
            continue
        means = [100 * statistics.mean(side) for side in zip(*pairs, strict=True)]
        gains = [100 * (a - b) for a, b in pairs]
        found = [
            ours[s].get("quality", {}).get("presence_ap_classes", {}).get(name)
            for s in seeds
        ]
        presence = ""
        if None not in found:
            precise.append(statistics.mean(found))
            gained.append(statistics.mean(gains))
            presence = f"{100 * precise[-1]:.1f}"
        cells = f"{means[0]:.1f} | {means[1]:.1f} | {difference(gains)} | {presence}"
        rows.append((statistics.mean(gains), f"| {name} | {cells} |"))
    lines += [line for _, line in sorted(rows, reverse=True)]
    if len(gained) > 1:
        ranks = [np.argsort(np.argsort(values)) for values in (gained, precise)]
        correlation = np.corrcoef(*ranks)[0, 1]
        lines.append(
            f"\nrank correlation of difference and presence: {correlation:.2f}"
        )
    return "\n".join(lines)


def image_table(
    folder: pathlib.Path, reports: Reports, row: str, baseline: str, number: int = 4
) -> str:
    """Returns the images with the largest differences of absent classes, both ways.

    Args:
        folder: has the runs.
        reports: see `finished`; recorded ones have no counts of single images.
        row, baseline: two rows on one data set.
        number: of images in each direction.

    Returns:
        A Markdown table: for each image the pixels in % that either row predicts as
        classes that the image lacks, the mean over common seeds, and the most frequent
        of these classes.
    """
    ours, theirs = reports.get(row, {}), reports.get(baseline, {})
    seeds = [seed for seed in ours if seed in theirs]
    if not seeds:
        return f"no images: {folder} has no finished seed of both {row} and {baseline}"
    names = list(ours[seeds[0]]["iou"])
    sides = []
    for name in (row, baseline):
        files = [folder / f"{name}-seed{s}/images-val-single-0.npz" for s in seeds]
        found = [_counts(file) for file in files]
        pixels = np.maximum(found[0][2].sum(axis=1, keepdims=True), 1)
        sides.append(np.mean([absent / pixels for _, absent, _ in found], axis=0))
    absent, others = (side.sum(axis=1) for side in sides)
    order = np.argsort(absent - others, kind="stable")
    lines = [
        f"| image | {row}, % | {baseline}, % | {row}, most | {baseline}, most |",
        "| --- | --: | --: | --- | --- |",
    ]
    for i in (*order[:number], *order[: -number - 1 : -1]):
        most = [names[side[i].argmax()] if side[i].any() else "" for side in sides]
        shares = f"{100 * absent[i]:.1f} | {100 * others[i]:.1f}"
        lines.append(f"| {found[0][0][i]} | {shares} | {' | '.join(most)} |")
    return "\n".join(lines)


def plot_sweep(reports: Reports, name: str, folder: pathlib.Path) -> str:
    """Draws the scores over the values of a field, as encnet_jax.sweep does.

    Only seeds that all finished rows share are drawn: a difference between seeds is
    larger than most differences between rows.

    Args:
        reports: see `finished`.
        name: key of SWEEPS.
        folder: folder of the picture, FIELD-NAME.png.

    Returns:
        A line that says where the plot is, or that there is none.
    """
    field, every = SWEEPS[name]
    rows = {value: row for value, row in every.items() if row in reports}
    seeds = set.intersection(*[set(reports[row]) for row in rows.values()] or [set()])
    if not seeds:
        return f"no plot: {', '.join(every.values())} have no finished seed in common"
    found = [
        sweep.row(value, [reports[row][seed] for seed in sorted(seeds)])
        for value, row in rows.items()
    ]
    path = folder / f"{field.rpartition('.')[2]}-{name}.png"
    sweep.plot(epath.Path(path), field, found)
    return f"plot of seeds {', '.join(map(str, sorted(seeds)))}: {path}"


def main() -> None:
    """Runs what is asked for, then prints the table of all that is finished."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", default="", help=f"of: {', '.join(RUNS)}")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--workdir", default="runs/learning")
    parser.add_argument("--data_dir", default="data")
    parser.add_argument("--plot", choices=SWEEPS)
    parser.add_argument("--compare", help="ROW,BASELINE: by class and by image")
    parser.add_argument("--record", action="store_true")
    args = parser.parse_args()
    folder = pathlib.Path(args.workdir)
    for seed in map(int, args.seeds.split(",")):
        for row in filter(None, args.runs.split(",")):
            run_one(row, seed, folder, args.data_dir)
    here = finished(folder)
    reports = learning_record.merged(learning_record.read(), here)
    if args.record:
        learning_record.write(reports)
    print(table(reports))
    print(f"\n{pair_table(reports)}")
    if args.compare:
        pair = args.compare.split(",")
        print(f"\n{class_table(reports, *pair)}\n")
        print(image_table(folder, here, *pair))
    if args.plot:
        print(plot_sweep(reports, args.plot, folder))


if __name__ == "__main__":
    main()
