"""Makes reports of evaluation: scores as JSON, and as a table in the terminal."""

import datetime
import importlib.metadata
import json
import pathlib
import platform
import re
import shlex
import subprocess
import sys

import jax
import numpy as np

import encnet_jax
from encnet_jax import config as config_lib
from encnet_jax import storage
from encnet_jax.errors import UserError
from encnet_jax.pods import parallel
from encnet_jax.scoring.metrics import ConfusionMatrix
from encnet_jax.scoring.protocols.dense_refined import REFINED_FIELDS
from encnet_jax.storage import outputs, schema
from encnet_jax.tasks import Measures
from encnet_jax.tasks.network import Network

_PACKAGES = ("jax", "jaxlib", "flax", "numpy")
# Values of scoring.quality that are fractions and are listed among the scores.
_QUALITY = (
    *("boundary_iou", "calibration_error", "presence_ap"),
    *("max_f_image", "average_precision_image", "max_f_bev", "average_precision_bev"),
)
# Per-class scores that a report may contain, and their column headings.
_HEADINGS = {
    "iou": "IoU %",
    "iou_small": "small %",
    "iou_large": "large %",
    "error": "error %",
}

_SHARE = schema.optional(schema.number(0, 1))


def _point(value) -> str | None:
    """Returns an error text unless the value is a number, NaN or None."""
    if value is None or type(value) is float or type(value) is int and -1 <= value <= 1:
        return None
    return "is not a number"


def _lists(*names: str):
    """Returns a function that checks a dict {name: list of numbers}.

    All lists must have the same length.
    """
    points = schema.listing(_point, most=4096)

    def check(value) -> str | None:
        wrong = schema.problem(value, dict.fromkeys(names, points))
        if wrong:
            return f"is wrong: {wrong}"
        lengths = {len(value[name]) for name in names}
        return None if len(lengths) == 1 else "has lists of different lengths"

    return check


def _by_width(value) -> str | None:
    """Returns an error text unless the value is a dict {width in pixels: number}."""
    if not isinstance(value, dict) or not all(map(_is_width, value)):
        return "does not have widths in pixels as its keys"
    return schema.mapping(_point)(value)


def _is_width(text: str) -> bool:
    return re.fullmatch("[0-9]{1,6}", text, re.ASCII) is not None


# The entries in the section 'quality' of a report that are plotted.
_QUALITY_SCHEMA = {
    "bands": _by_width,
    "reliability": _lists("confidence", "accuracy"),
    "risk_coverage": _lists("kept", "accuracy"),
}
_SCHEMA = {
    "quality?": _QUALITY_SCHEMA,
    "rule": str,
    "data": str,
    "split": schema.word,
    "images": schema.whole(1),
    "protocol": {"name": schema.word},
    "model": str,
    "step": schema.whole(),
    "devices": str,
    "commit": schema.optional(str),
    "processes?": schema.whole(1, 1 << 16),
    "evaluation?": schema.whole(),
    "warnings?": schema.listing(str),
    "versions?": schema.mapping(str),
    "command?": str,
    **{f"{name}?": schema.mapping(_SHARE) for name in _HEADINGS},
}


def read_report(path) -> dict:
    """Reads a report that eval.py has written, and checks its contents.

    Raises:
        UserError: the file cannot be read, or does not contain a report.
    """
    report = storage.read_json(path)
    wrong = schema.problem(report, _SCHEMA)
    if not wrong:
        scores = {
            key: value
            for key, value in report.items()
            if key.startswith(f"{report['split']}/")
        }
        wrong = schema.problem(scores, schema.mapping(schema.number(-1, 1e9)), "it")
    if wrong:
        raise UserError(
            f"{path} is not a report of eval.py ({wrong}): restore the file, or score"
            " the run again"
        )
    return report


def make_report(
    matrix: ConfusionMatrix,
    network: Network,
    *,
    split: str,
    num_images: int,
    by_size: tuple[ConfusionMatrix, ConfusionMatrix] | None = None,
    quality: dict | None = None,
) -> dict:
    """Makes a report: the scores, and the information needed to reproduce the scores.

    Args:
        matrix: confusion matrix of pixels (segmentation) or images (classification).
        network: the scored network.
        split: the scored split.
        num_images: number of scored images.
        by_size: confusion matrices (pixels in small objects, pixels in large objects);
            None if objects were not counted by size.
        quality: measures of quality, see scoring.quality.Quality.summary.

    Returns:
        A JSON-ready dict. Scores in [0, 1] have keys '{split}/{protocol}/...', where
        the protocol is for example 'single', or 'single-dense' after refinement.
        Per-class scores have the key 'iou' (segmentation) or 'error' (classification)
        and are None for a class that never occurs. `by_size` adds the per-class scores
        'iou_small' and 'iou_large'; the scores '.../mean_iou_small' and
        '.../mean_iou_large' are means over classes that have small or large objects.
        `quality` is stored under the key 'quality'; measures in [0, 1], such as
        '.../boundary_iou', are also stored as scores.
    """
    config, task, class_names = network.config, network.task, network.info.class_names
    protocol = protocol_name(config.eval.protocol, config.eval.refine)
    measures = task.measure(matrix)
    scores, classes = _scores(measures, by_size)
    temperature = {"temperature": config.eval.temperature}
    found = quality or {}
    scores |= {name: found[name] for name in _QUALITY if found.get(name) is not None}
    return {
        **{f"{split}/{protocol}/{name}": value for name, value in scores.items()},
        **{name: _named(class_names, values) for name, values in classes.items()},
        "rule": measures.rule,
        "data": config.data.name,
        "split": split,
        "images": num_images,
        **measures.counted,
        **({"quality": quality | temperature} if quality else {}),
        "not_finite_pixels": matrix.not_finite,
        "warnings": _warnings(matrix, class_names),
        "protocol": {"name": protocol} | _protocol_fields(network),
        "model": task.description,
        "step": network.step,
        "precise_norm_steps": config.eval.precise_norm_steps,
        "num_params": _num_params(network.variables["params"]),
        "data_dir": config.data.data_dir,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "command": shlex.join(sys.argv),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in _PACKAGES}
        | {"encnet_jax": encnet_jax.__version__},
        "devices": parallel.describe_devices(),
    }


def _protocol_fields(network: Network) -> dict:
    """Returns {field: value} of the configuration fields that affect scores."""
    names = network.task.protocol_fields[network.config.eval.protocol]
    names = (*names, *REFINED_FIELDS[network.config.eval.refine])
    values = {name: config_lib.get(network.config, name) for name in names}
    return {
        name.split(".", 1)[1]: list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
    }


def _num_params(params) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def _warnings(matrix: ConfusionMatrix, class_names: tuple[str, ...]) -> list[str]:
    """Returns warnings about misleading scores."""
    warnings = []
    occurring = np.flatnonzero(matrix.counts.sum(axis=1))
    if len(class_names) < 2:
        warnings.append("there is one class only, so every network scores 1")
    elif len(occurring) == 1:
        name = class_names[occurring[0]]
        warnings.append(f"only one class occurs in the labels: {name!r}")
    if matrix.not_finite:
        warnings.append(
            f"the scores of {matrix.not_finite} labelled pixels (or images) were NaN or"
            " infinite; these pixels or images are not counted"
        )
    return warnings


def _scores(
    measures: Measures, by_size: tuple[ConfusionMatrix, ConfusionMatrix] | None
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Returns ({name: score}, {name: scores of all classes}); see make_report."""
    scores = dict(measures.scores)
    classes = {measures.class_score: measures.class_scores}
    for name, part in zip(("small", "large"), by_size or (), strict=False):
        occurs = part.counts.sum(axis=1) > 0
        iou = classes[f"iou_{name}"] = np.where(occurs, part.iou(), np.nan)
        scores[f"mean_iou_{name}"] = float(iou[occurs].mean()) if occurs.any() else 0.0
    return scores, classes


def _named(class_names: tuple[str, ...], values: np.ndarray) -> dict:
    scores = [None if np.isnan(x) else float(x) for x in values]
    return dict(zip(class_names, scores, strict=True))


def _commit() -> str | None:
    """Returns the git commit of the package; None outside a git checkout."""
    root = pathlib.Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def protocol_name(protocol: str, refine: str) -> str:
    """Returns a protocol's name in reports: 'single', or 'single-dense' if refined."""
    return protocol if refine == "none" else f"{protocol}-{refine}"


def report_name(split: str, protocol: str) -> str:
    """Returns the file name of the newest report for a split and a protocol."""
    return f"report-{split}-{protocol}.json"


def check_split(split: str) -> None:
    """Raises UserError unless the name of a split can be part of a file name."""
    wrong = schema.word(split)
    if wrong:
        raise UserError(
            f"the split {wrong}, because the report's file name contains the split; for"
            " a path, add its folders to data.folder.images and data.folder.masks, or"
            " use --images and --masks"
        )


def save_report(path, report: dict, kind: str = "report") -> None:
    """Writes a report as JSON, atomically.

    Args:
        path: the file to write.
        report: a JSON-ready dict.
        kind: purpose of the file, such as 'report'; see outputs.check_replaceable.

    Raises:
        UserError: the report would replace a file that this package has not written.
    """
    outputs.write(path, kind, json.dumps(report, indent=2) + "\n", "--output")


def _percent(score: float | None) -> str:
    return "-" if score is None else f"{100 * score:.1f}"


def format_report(report: dict) -> str:
    """Returns a report as text: a table of per-class scores, then the other scores."""
    measures = [name for name in _HEADINGS if name in report]
    width = max(map(len, report[measures[0]]))
    headings = "  ".join(_HEADINGS[name] for name in measures)
    lines = [f"{'class':<{width}}  {headings}"]
    for name, score in report[measures[0]].items():
        values = "  ".join(
            _percent(report[m][name]).rjust(len(_HEADINGS[m])) for m in measures
        )
        bar = "" if score is None else "#" * round(30 * score)
        lines.append(f"{name:<{width}}  {values}  {bar}".rstrip())
    lines.append("")
    for name, value in report.items():
        if isinstance(value, float):
            lines.append(f"{name}: {100 * value:.2f} %")
    if "quality" in report:
        quality = report["quality"]
        lines.append(
            f"negative log-likelihood {quality['nll']:.4f}, Brier score"
            f" {quality['brier']:.4f}"
        )
    lines.append(f"rule: {report['rule']}")
    lines += [f"warning: {warning}" for warning in report.get("warnings", ())]
    fields = dict(report["protocol"])
    protocol = f"protocol {fields.pop('name')}"
    protocol += "".join(f", {name}={value}" for name, value in fields.items())
    if report["precise_norm_steps"]:
        protocol += f", precise_norm_steps={report['precise_norm_steps']}"
    lines.append(
        f"{report['model']}, step {report['step']}, {report['images']} images of"
        f" {report['data']}/{report['split']}, {protocol}, {report['devices']}"
    )
    return "\n".join(lines)
