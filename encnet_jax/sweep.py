"""Trains one run for each value of a field; writes a table and a plot of the scores.

    python -m encnet_jax.sweep --config configs/quickstart.py --field loss.se_weight \\
        --values 0,0.1,0.2,0.4,0.8 --seeds 0,1,2 --workdir runs/sweep-alpha

With several seeds, the table shows means and standard deviations. The same command
resumes an interrupted sweep; finished runs are not repeated.
"""

import ast
import re
import statistics
from collections.abc import Sequence

import jax
from etils import epath

from encnet_jax import cli, tasks
from encnet_jax import config as config_lib
from encnet_jax.checkpoints import read
from encnet_jax.data.check.facts import facts
from encnet_jax.errors import UserError
from encnet_jax.evaluate import run as run_lib
from encnet_jax.evaluate import tables
from encnet_jax.evaluate.loading import Selection, check_protocol
from encnet_jax.pods import workdir as workdir_lib
from encnet_jax.report import figures
from encnet_jax.storage import outputs
from encnet_jax.train import loop

_FILES = {
    "sweep.json": "table of a sweep",
    "sweep.md": "text of a sweep",
    "sweep.png": "picture",
}


def run(
    config,
    field: str,
    values: list,
    workdir: str,
    protocol: str | None,
    seeds: tuple[int, ...] = (),
) -> bool:
    """Trains and scores all runs; updates the table and the plot after each value.

    Args:
        config: result of `config.load`, with overrides applied.
        field: dotted name of the field that differs between the runs.
        values: values of the field.
        workdir: folder of the sweep, which will contain a folder per run, the table
            (sweep.json and sweep.md) and the plot (sweep.png).
        protocol: evaluation protocol; if None, config.eval.protocol.
        seeds: each value is trained once with each seed; if empty, only with
            config.seed.

    Returns:
        Whether all runs are complete; False if a run was interrupted.

    Raises:
        UserError: the field does not exist, or a run cannot be trained or scored.
    """
    folder, rows = epath.Path(workdir), []
    for name, kind in _FILES.items():
        outputs.check_replaceable(folder / name, kind, "--workdir")
    _check_runs(config, field, values, protocol, seeds)
    for value in values:
        run_config, reports = config_lib.with_value(config, field, value), []
        for seed in seeds or (run_config.seed,):
            run_config.seed = seed
            name = f"{field}={value}" + (f"-seed{seed}" if seeds else "")
            report = run_one(run_config, folder / name, protocol)
            if report is None:
                return False
            reports.append(report)
        rows.append(row(value, reports))
        if jax.process_index() == 0:
            save(folder, field, rows)
            print(table(field, rows))
            print(f"plot: {folder / 'sweep.png'}")
    return True


def _check_runs(config, field: str, values: list, protocol: str | None, seeds) -> None:
    """Checks the configurations of all runs before the first run is trained.

    Raises:
        UserError: a configuration or a data set is not valid for a sweep.
    """
    check_protocol(protocol)
    found = None
    for value in values:
        changed = config_lib.with_value(config, field, value)
        if not changed.data.val_split:
            raise UserError(
                "data.val_split is '', but every run of a sweep is evaluated; expected"
                " the name of a split"
            )
        tables.check_split(changed.data.val_split)
        if found is None or field.startswith("data."):
            dataset = tasks.open_dataset(changed)
            found = config_lib.Facts(dataset.num_examples(changed.data.train_split))
            dataset.num_labelled(changed.data.val_split)
        for seed in seeds or (changed.seed,):
            changed.seed = seed
            config_lib.resolve(changed, found)


def run_one(config, workdir: epath.Path, protocol: str | None) -> dict | None:
    """Trains and scores one run; only reads the report if the run is already complete.

    Returns:
        The evaluation report, or None if training was interrupted.
    """
    dataset = tasks.open_dataset(config)
    num_examples = dataset.num_examples(config.data.train_split)
    resolved = config_lib.resolve(config, config_lib.Facts(num_examples))
    total_steps = resolved.train.total_steps
    protocol = protocol or resolved.eval.protocol
    name = tables.protocol_name(protocol, resolved.eval.refine)
    report_file = workdir / tables.report_name(resolved.data.val_split, name)
    if report_file.exists():
        saved = config_lib.read_saved(workdir / "config.json")
        # Reuses the saved class weights instead of counting the labels again.
        found = facts(dataset, resolved.loss, saved.loss)
        same = config_lib.resolve(config, found)
        workdir_lib.check_same_config(workdir, saved, same)
        report = tables.read_report(report_file)
        if report.get("step") == total_steps:
            print(f"{workdir}: already done")
            return report
    loop.train(config, str(workdir))
    if read.find_step(str(workdir)) < total_steps:
        return None
    return run_lib.evaluate_run(str(workdir), Selection(protocol=protocol))


def row(value, reports: list[dict]) -> dict:
    """Returns one row of the table: the mean scores of the runs with one value.

    Args:
        value: value of the configuration field that the sweep varies.
        reports: evaluation reports of the runs with this value, one for each seed.

    Returns:
        {'value': value, 'mean_iou': mean, ..., 'spread': {'mean_iou': standard
        deviation, ...}}. Scores are in [0, 1]; 'spread' is empty for a single report.
    """
    names = [name for name, x in reports[0].items() if isinstance(x, float)]
    scores = {n.rsplit("/", 1)[1]: [report[n] for report in reports] for n in names}
    several = scores if len(reports) > 1 else {}
    return {
        "value": value,
        **{name: statistics.mean(found) for name, found in scores.items()},
        "spread": {name: statistics.stdev(found) for name, found in several.items()},
    }


def _score_names(rows: list[dict]) -> list[str]:
    return [name for name in rows[0] if name not in ("value", "spread")]


def table(field: str, rows: list[dict]) -> str:
    """Formats rows, as returned by `row`, as a Markdown table."""
    names = _score_names(rows)
    lines = [f"| {field} | {' | '.join(f'{name} %' for name in names)} |"]
    lines.append(f"| --: |{' --: |' * len(names)}")
    for each in rows:
        scores = " | ".join(_cell(each, name) for name in names)
        value = str(each["value"]).replace("|", "\\|")
        lines.append(f"| {value} | {scores} |")
    return "\n".join(lines) + "\n"


def save(folder: epath.Path, field: str, rows: list[dict]) -> None:
    """Writes the rows to sweep.json and sweep.md, and their plot to sweep.png."""
    content = {"field": field, "rows": rows}
    tables.save_report(folder / "sweep.json", content, _FILES["sweep.json"])
    text = outputs.MARKDOWN_MARK + table(field, rows)
    outputs.write(folder / "sweep.md", _FILES["sweep.md"], text, "--workdir")
    plot(folder / "sweep.png", field, rows)


def _cell(row: dict, name: str) -> str:
    spread = row["spread"].get(name)
    behind = "" if spread is None else f" ± {100 * spread:.2f}"
    return f"{100 * row[name]:.2f}{behind}"


def plot(path: epath.Path, field: str, rows: list[dict]) -> None:
    """Plots the first two scores against the field's values.

    For segmentation, these scores are mean IoU and pixel accuracy, as in Figure 5 of
    the paper. Error bars are standard deviations over the seeds.
    """
    figure = figures.new(figsize=(5, 3.5), layout="constrained")
    left = figure.add_subplot()
    names = _score_names(rows)[:2]
    places = range(
        len(rows)
    )  # Evenly spaced: values such as 0, 0.1, 0.2, 0.4, 0.8 would be crowded.
    lines = []
    looks = (("tab:blue", "o"), ("tab:orange", "s"))
    for name, (colour, marker) in zip(names, looks, strict=False):
        axes = left if name == names[0] else left.twinx()
        scores = [100 * each[name] for each in rows]
        label = name.replace("_", " ").replace("iou", "IoU")
        bars = [100 * each["spread"].get(name, 0.0) for each in rows]
        lines += axes.plot(places, scores, color=colour, marker=marker, label=label)
        axes.errorbar(places, scores, bars, color=colour, capsize=3, fmt="none")
        axes.set_ylabel(f"{label} (%)", color=colour)
    left.set_xticks(places, [str(each["value"]) for each in rows])
    left.set_xlabel(field)
    left.legend(handles=lines, loc="best")
    figures.save(figure, path, dpi=150)


def parse_values(text: str) -> list:
    """Parses comma-separated values of a field, such as '0,0.1,True,deep'.

    Raises:
        UserError: there are no values, two values are equal, or a value cannot be part
            of a folder name.
    """
    values = []
    for word in filter(None, map(str.strip, text.split(","))):
        try:
            values.append(ast.literal_eval(word))
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            values.append(word)
    if len(values) != len(set(map(str, values))) or not values:
        raise UserError(
            f"--values is {text!r}; expected distinct values, such as 0,0.1,0.2"
        )
    for value in values:
        # Values become parts of folder names.
        fits = re.fullmatch(r"[^/\\\x00-\x1f\x7f\ud800-\udfff]{1,100}", str(value))
        if not fits or len(str(value).encode()) > 100:
            raise UserError(
                f"--values contains {str(value)[:100]!r}; expected at most 100 bytes of"
                " UTF-8 without slashes or control characters, because each value"
                " becomes part of a folder name"
            )
    return values


def parse_seeds(text: str) -> tuple[int, ...]:
    """Parses comma-separated seeds such as '0,1,2'; returns () for an empty text.

    Raises:
        UserError: a seed is not a whole number, or two seeds are equal.
    """
    words = [word for word in map(str.strip, text.split(",")) if word]
    if not all(re.fullmatch("[0-9]{1,10}", word) for word in words):
        raise UserError(
            f"--seeds is {text!r}; expected distinct whole numbers, such as 0,1,2"
        )
    seeds = tuple(map(int, words))
    if len(seeds) != len(set(seeds)):
        raise UserError(
            f"--seeds is {text!r}; expected distinct whole numbers, such as 0,1,2"
        )
    return seeds


def main(argv: Sequence[str]) -> int:
    """Parses the flags and runs the sweep; returns 0, or 1 after an interruption."""
    line = cli.CommandLine(argv, __doc__)
    line.config(required=True)
    line.processes()
    line.string(
        "field", "The field to vary, for example loss.se_weight.", required=True
    )
    line.string("values", "Values of the field: 0,0.1,0.2,0.4,0.8.", required=True)
    line.string("seeds", "Seeds with which each value is trained: 0,1,2.", "")
    line.string("workdir", "Folder of the sweep.", required=True)
    line.string("protocol", "Evaluation protocol. Default: eval.protocol.")
    values = line.parse()
    cli.join_processes(values)
    done = run(
        values.config,
        values.field,
        parse_values(str(values["values"].value)),
        values.workdir,
        values.protocol,
        parse_seeds(values.seeds),
    )
    return 0 if done else 1


if __name__ == "__main__":
    cli.start(main)
