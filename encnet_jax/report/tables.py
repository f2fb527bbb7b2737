"""Scores as JSON and as a table in the terminal."""

import json
import subprocess

import numpy as np

from encnet_jax import parallel
from encnet_jax.metrics import ConfusionMatrix


def make_report(
    matrix: ConfusionMatrix,
    class_names: tuple[str, ...],
    *,
    config,
    step: int,
    split: str,
    num_images: int,
) -> dict:
    """Collects what a reader needs to believe a score.

    Returns:
        A JSON-ready dict; scores in [0, 1] under '{split}/{protocol}/...', IoU None for a
        class that occurs in neither labels nor predictions.
    """
    protocol, absent = config.eval.protocol, config.eval.absent_classes
    iou = [None if np.isnan(x) else float(x) for x in matrix.iou()]
    return {
        f"{split}/{protocol}/mean_iou": matrix.mean_iou(absent),
        f"{split}/{protocol}/pixel_accuracy": matrix.pixel_accuracy(),
        "iou": dict(zip(class_names, iou, strict=True)),
        "data": config.data.name,
        "split": split,
        "images": num_images,
        "pixels": int(matrix.counts.sum()),
        "protocol": {
            "name": protocol,
            "bucket": config.eval.bucket,
            "input_scale": config.data.input_scale,
            "absent_classes": absent,
        },
        "model": f"{config.model.name}-{config.model.backbone} ({config.architecture})",
        "step": step,
        "commit": _commit(),
        "devices": parallel.describe_devices(),
    }


def _commit() -> str | None:
    """Returns the version of the code, or None outside a git checkout."""
    command = ["git", "describe", "--always", "--dirty"]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def save_report(path, report: dict) -> None:
    """Writes the report as JSON, whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(report, indent=2) + "\n")
    partial.replace(path)


def format_report(report: dict) -> str:
    """Returns the per-class table and the scores, in percent, as lines of text."""
    width = max(map(len, report["iou"]))
    lines = [f"{'class':<{width}}  IoU %"]
    for name, iou in report["iou"].items():
        value = "    -" if iou is None else f"{100 * iou:5.1f}"
        bar = "" if iou is None else "#" * round(30 * iou)
        lines.append(f"{name:<{width}}  {value}  {bar}".rstrip())
    lines.append("")
    for name, value in report.items():
        if isinstance(value, float):
            lines.append(f"{name}: {100 * value:.2f} %")
    protocol = ", ".join(f"{k}={v}" for k, v in report["protocol"].items())
    lines.append(
        f"{report['model']}, step {report['step']}, {report['images']} images of"
        f" {report['data']}/{report['split']}, {protocol}, {report['devices']}"
    )
    return "\n".join(lines)
