"""Draws images, labels and predictions of several runs side by side.

The figures are like Figures 4 and 6 of the EncNet paper.

python -m encnet_jax.report compare runs/ade20k-fcn runs/ade20k --output compare.png
python -m encnet_jax.report compare runs/ade20k --worst --output failures.png
"""

import pathlib
from collections.abc import Sequence
from functools import partial

import numpy as np

from encnet_jax import cli, tasks
from encnet_jax.errors import UserError, printable
from encnet_jax.evaluate.loading import Selection, load
from encnet_jax.evaluate.refine import refine_fields
from encnet_jax.evaluate.tables import protocol_name
from encnet_jax.labels import IGNORE_LABEL
from encnet_jax.pictures import colourise
from encnet_jax.report import figures, run_files
from encnet_jax.scoring.image_scores import mean_iou


def choose_examples(dataset, split: str, ids: Sequence[str], number: int) -> list[dict]:
    """Returns the examples of `split` whose ids are in `ids`, in the order of `ids`.

    If `ids` is empty, returns `number` examples, evenly spread over the split.

    Raises:
        UserError: one of the ids does not occur in the split.
    """
    if not ids:
        return list(dataset.spread_examples(split, number))
    found = {}
    for example in dataset.eval_examples(split):
        if example["id"] in ids:
            found[example["id"]] = example
        if len(found) == len(set(ids)):
            break
    missing = [name for name in ids if name not in found]
    if missing:
        raise UserError(
            f"--ids: the split {split!r} has no image {missing[0]!r}; expected names of"
            " images in this split"
        )
    return [found[name] for name in ids]


def worst_images(
    workdir: str, split: str | None, protocol: str | None, number: int
) -> tuple[str, list[str]]:
    """Finds the images with the lowest mean IoU in an evaluation report.

    Args:
        workdir: folder of an evaluated run.
        split, protocol: split and protocol of the report; if both are None, the newest
            report is read.
        number: largest number of images. Images without labelled pixels are skipped.

    Returns:
        (name of the report's split, ids of the images). The image with the lowest mean
        IoU is first.

    Raises:
        UserError: the report or its per-image scores are missing or damaged.
    """
    run = run_files.read(workdir, split, protocol)
    scored = [i for i, counts in enumerate(run.counts) if counts[1].any()]
    scored.sort(key=lambda i: mean_iou(run.counts[i]))
    return run.report["split"], [str(run.ids[i]) for i in scored[:number]]


def predictions(
    workdirs: Sequence[str],
    selection: Selection,
    ids: Sequence[str],
    number: int,
) -> tuple:
    """Labels the same images with the networks of several runs.

    Args:
        workdirs: folders of runs on the same data set.
        selection: checkpoint, split and protocol; the default split is data.val_split.
        ids, number: see choose_examples.

    Returns:
        (DatasetInfo, examples, predictions, protocols). The list `predictions` contains
        a dict {id: labels uint8[H, W]} for each run; the list `protocols` contains the
        name of the protocol for each run.

    Raises:
        UserError: the runs have different classes; see also evaluate.loading.load.
    """
    split = selection.split
    info, found, protocols = None, [], []
    examples: list[dict] = []
    for workdir in workdirs:
        network = load(workdir, selection, whole_images=True)
        config = network.config
        if info is None:
            dataset = tasks.open_dataset(config)
            info, split = dataset.info, split or config.data.val_split
            examples = choose_examples(dataset, split, ids, number)
        elif tasks.open_dataset(config).info.class_names != info.class_names:
            raise UserError(
                f"{workdir} (data set {config.data.name}) and {workdirs[0]} (data set"
                f" {info.name}) have different classes; expected the same classes"
            )
        evaluator = network.evaluator(sizes=partial(_sizes, examples))
        labelled = evaluator.predict(network.prepared(), examples)
        found.append({example["id"]: labels for example, labels in labelled})
        protocols.append(protocol_name(config.eval.protocol, config.eval.refine))
    return info, examples, found, protocols


def _sizes(examples: list[dict]) -> list[tuple[int, int]]:
    return [example["image"].shape[:2] for example in examples]


def draw(info, examples: list[dict], titles: list[str], found: list[dict], output: str):
    """Writes a PNG with one row of images, and a legend of the classes, per example.

    Args:
        info, examples, found: the first three values that `predictions` returns.
        titles: title of each run.
        output: the file to write.
    """
    from matplotlib.patches import Patch

    columns = ["image", "truth", *titles]
    figure = figures.new(figsize=(2.6 * len(columns) + 2, 2.4 * len(examples)))
    figure.set_layout_engine("constrained")
    grid = figure.subplots(len(examples), len(columns), squeeze=False)
    for axes, example in zip(grid, examples, strict=True):
        maps = [example["label"], *(labels[example["id"]] for labels in found)]
        panels = [example["image"], *(colourise(ids, info.colours) for ids in maps)]
        for ax, panel in zip(axes, panels, strict=True):
            ax.imshow(panel)
            ax.set_axis_off()
        present = np.unique(np.concatenate([m.ravel() for m in maps]))
        handles = [
            Patch(
                facecolor=info.colours[i] / 255,
                edgecolor="grey",
                label=printable(info.class_names[i]),
            )
            for i in present
            if i != IGNORE_LABEL
        ]
        axes[-1].legend(
            handles=handles, loc="center left", bbox_to_anchor=(1, 0.5), fontsize=7
        )
    for ax, title in zip(grid[0], columns, strict=True):
        ax.set_title(printable(title))
    figures.save(figure, output, dpi=120)


def main(argv: Sequence[str]) -> None:
    """Runs the command: draws images, labels and predictions of several runs."""
    line = cli.CommandLine(argv, __doc__)
    line.argument("run", "Workdirs, for example of FCN and EncNet.", several=True)
    line.strings("titles", "Titles of the runs: A,B. Default: folder and protocol.")
    line.string("split", "Split of the examples. Default: data.val_split.")
    line.strings("ids", "Names of the images to draw: A,B.")
    line.switch("worst", "Draw the images with the lowest scores of the first run.")
    line.integer("number", "Number of images, unless --ids is given.", 4, least=1)
    line.checkpoint()
    line.string("protocol", "Evaluation protocol. Default: eval.protocol.")
    line.string("refine", "Refinement: 'dense', or a file written by `report refine`.")
    line.string("data_dir", "Folder of prepared data sets. Default: that of the run.")
    line.string("output", "The PNG to write.", "compare.png")
    args = line.parse()
    if args.titles and len(args.titles) != len(args.run):
        raise UserError(
            f"there are {len(args.titles)} --titles for {len(args.run)} runs; expected"
            " one title for each run, separated by commas"
        )
    if args.worst and args.ids:
        raise UserError("--worst and --ids both choose examples: give only one of them")
    figures.check_output(args.output)
    split, ids = args.split, args.ids
    if args.worst:
        split, ids = worst_images(args.run[0], split, args.protocol, args.number)
    fields = {"data.data_dir": args.data_dir} if args.data_dir else {}
    selection = Selection(
        checkpoint=args.checkpoint,
        split=split,
        protocol=args.protocol,
        fields=fields | refine_fields(args.refine),
    )
    info, examples, found, protocols = predictions(
        args.run, selection, ids, args.number
    )
    names = [pathlib.Path(run).name for run in args.run]
    labels = [f"{n} ({p})" for n, p in zip(names, protocols, strict=True)]
    draw(info, examples, args.titles or labels, found, args.output)
    print(f"{len(examples)} images, {', '.join(labels)}: {args.output}")
