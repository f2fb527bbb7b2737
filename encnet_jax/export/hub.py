"""A folder for model hubs: weights, configuration, and a model card with scores."""

import html
import json
import math
import os
import pathlib
import re
import shutil
import tempfile

from etils import epath

from encnet_jax import storage
from encnet_jax.checkpoints import read
from encnet_jax.errors import UserError, printable
from encnet_jax.evaluate import tables
from encnet_jax.inference.model import Model
from encnet_jax.tasks import folder

_METRICS = {"mean_iou": "mean IoU", "pixel_accuracy": "pixel accuracy"}


def write(model: Model, workdir: str, output: pathlib.Path, *, license: str) -> None:
    """Writes the folder atomically.

    Args:
        model: the network to write.
        workdir: folder of its run; scores are taken from its reports.
        output: new folder.
        license: for the model card.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    # Made exclusively, under a name that nobody has: nothing of the user's is removed.
    unfinished = pathlib.Path(tempfile.mkdtemp(prefix=".partial-", dir=output.parent))
    try:
        unfinished.chmod(0o777 & ~_umask())
        # Not model.variables, whose batch norms are folded and cannot be trained.
        variables = original_variables(workdir, model.step)
        folder.write(epath.Path(unfinished), variables, model.config, model.step)
        (unfinished / "README.md").write_text(
            card(model, reports(model, workdir), license)
        )
        unfinished.rename(output)
    except OSError as error:
        # The name of the unfinished folder means nothing to the user.
        raise UserError(storage.describe(error, output)) from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def original_variables(workdir: str, step: int) -> dict:
    """Returns the variables of a checkpoint, or of an exported folder, as trained."""
    if folder.is_one(workdir):
        return folder.read(workdir).variables
    return read.restore(workdir, step).variables


def reports(model: Model, workdir: str) -> list[dict]:
    """Returns the reports in workdir that belong to this checkpoint."""
    found = sorted(epath.Path(workdir).glob("report-*.json"))
    read = [tables.read_report(path) for path in found if "images" not in path.name]
    return [report for report in read if report.get("step") == model.step]


def _plain(text: str) -> str:
    """Returns a text whose characters mean nothing in Markdown and HTML."""
    escaped = re.sub(r"([\\`*_{}\[\]#+!|~$])", r"\\\1", printable(text))
    return html.escape(escaped, quote=False)


def card(model: Model, scores: list[dict], license: str) -> str:
    """Returns a model card: YAML with a model-index, then text.

    Args:
        model: the network.
        scores: reports of evaluation; see evaluate.tables.make_report.
        license: identifier of model hubs, such as apache-2.0 or other.
    """
    config = model.config
    name = f"{config.model.name}-{config.model.backbone}-{config.data.name}"
    lines = ["---", f"license: {json.dumps(license)}", "library_name: encnet_jax"]
    lines += ["pipeline_tag: image-segmentation", "tags:", "- jax", "- encnet"]
    if scores:
        lines += ["model-index:", f"- name: {name}", "  results:"]
    for report in scores:
        protocol = report["protocol"]["name"]
        lines += [
            "  - task:",
            "      type: image-segmentation",
            "    dataset:",
            f"      type: {json.dumps(report['data'])}",
            f"      name: {json.dumps(report['data'])}",
            f"      split: {json.dumps(report['split'])}",
            "    metrics:",
        ]
        for key, label in _METRICS.items():
            value = report.get(f"{report['split']}/{protocol}/{key}")
            if value is not None:
                lines += [
                    f"    - type: {key}",
                    f"      name: {label} ({protocol})",
                    f"      value: {value:.4f}",
                ]
    lines += ["---", "", f"# {name}", ""]
    lines += [
        (
            "Semantic segmentation with encnet_jax: Context Encoding for Semantic"
            " Segmentation (CVPR 2018), https://arxiv.org/abs/1803.08904."
        ),
        "",
        "```python",
        "import encnet_jax",
        "",
        'model = encnet_jax.load("THIS/FOLDER")',
        'result = model("photo.jpg")',
        "```",
        "",
        (
            f"Architecture `{config.architecture}`, output stride"
            f" {config.model.output_stride}, step {model.step} of"
            f" {config.train.total_steps}, batch {config.train.batch_size}."
        ),
        "",
    ]
    if scores:
        lines += ["| split | protocol | images | mean IoU | pixel accuracy |"]
        lines += ["| --- | --- | --: | --: | --: |"]
    for report in scores:
        split, protocol = report["split"], report["protocol"]["name"]
        values = " | ".join(
            f"{report.get(f'{split}/{protocol}/{key}', math.nan):.4f}"
            for key in _METRICS
        )
        lines.append(
            f"| {_plain(report['data'])}/{split} | {protocol} | {report['images']} |"
            f" {values} |"
        )
    if scores:
        lines += ["", f"Scoring rule: {_plain(scores[0]['rule'])}.", ""]
    classes = ", ".join(map(_plain, model.class_names))
    return "\n".join([*lines, f"Classes, in order: {classes}.", ""])
