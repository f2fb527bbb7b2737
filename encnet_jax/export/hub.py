"""Writes a folder for model hubs: weights, configuration and a model card."""

import html
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
from encnet_jax.storage import lookup
from encnet_jax.tasks import folder

_METRICS = {"mean_iou": "mean IoU", "pixel_accuracy": "pixel accuracy"}


def write(model: Model, workdir: str, output: pathlib.Path, *, license: str) -> None:
    """Writes a folder for model hubs atomically.

    Args:
        model: the network to write.
        workdir: folder of the network's run. The scores in the model card are from the
            evaluation reports in this folder.
        output: the folder to create.
        license: license identifier for the model card, such as 'apache-2.0'.

    Raises:
        UserError: the folder cannot be written, or huggingface_hub is not installed.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    # mkdtemp creates a new folder, so the cleanup below never removes the user's files.
    unfinished = pathlib.Path(tempfile.mkdtemp(prefix=".partial-", dir=output.parent))
    try:
        unfinished.chmod(0o777 & ~_umask())
        # Not model.variables, whose batch norms are folded and cannot be trained.
        variables = original_variables(workdir, model.step)
        folder.write(epath.Path(unfinished), variables, model.config, model.step)
        text = card(model, reports(model, workdir), license)
        # Not write_text: class names may contain characters that UTF-8 cannot encode.
        content = text.encode("utf-8", "backslashreplace")
        (unfinished / "README.md").write_bytes(content)
        unfinished.rename(output)
    except OSError as error:
        # The error contains the name of the temporary folder, unknown to the user.
        raise UserError(storage.describe(error, output)) from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def original_variables(workdir: str, step: int) -> dict:
    """Returns the variables of a run or exported folder, with unfolded batch norms."""
    if folder.is_one(workdir):
        return folder.read(workdir).variables
    return read.restore(workdir, step).variables


def reports(model: Model, workdir: str) -> list[dict]:
    """Returns the reports in `workdir` that evaluate the checkpoint of `model`."""
    found = lookup.matching(workdir, "report-*.json")
    read = [tables.read_report(path) for path in found if "images" not in path.name]
    return [report for report in read if report.get("step") == model.step]


def _plain(text: str) -> str:
    """Escapes the special characters of Markdown and HTML."""
    escaped = re.sub(r"([\\`*_{}\[\]#+!|~$])", r"\\\1", printable(text))
    return html.escape(escaped, quote=False)


def card(model: Model, scores: list[dict], license: str) -> str:
    """Returns the text of a model card (README.md), which begins with YAML metadata.

    Args:
        model: the network.
        scores: evaluation reports, see evaluate.tables.make_report.
        license: license identifier used by model hubs, such as 'apache-2.0' or 'other'.

    Raises:
        UserError: huggingface_hub is not installed.
    """
    hub = folder.import_hub("--format hub")
    config = model.config
    name = f"{config.model.name}-{config.model.backbone}-{config.data.name}"
    metadata = hub.ModelCardData(
        license=license,
        library_name="encnet_jax",
        pipeline_tag="image-segmentation",
        tags=["jax", "encnet"],
        datasets=[config.data.name],
        model_name=name,
        eval_results=[
            hub.EvalResult(
                task_type="image-segmentation",
                dataset_type=report["data"],
                dataset_name=report["data"],
                dataset_split=report["split"],
                metric_type=metric,
                metric_name=f"{label} ({report['protocol']['name']})",
                metric_value=round(_score(report, metric), 4),
            )
            for report in scores
            for metric, label in _METRICS.items()
            if math.isfinite(_score(report, metric))
        ]
        or None,
    )
    rows = [
        f"| {_plain(report['data'])}/{report['split']} | {report['protocol']['name']}"
        f" | {report['images']} | "
        + " | ".join(f"{_score(report, metric):.4f}" for metric in _METRICS)
        + " |"
        for report in scores
    ]
    text = _TEXT.format(
        name=name,
        architecture=config.architecture,
        stride=config.model.output_stride,
        step=model.step,
        steps=config.train.total_steps,
        batch=config.train.batch_size,
        weights=config.init_from or "random weights",
        data=config.data.name,
        classes=", ".join(map(_plain, model.class_names)),
    )
    if rows:
        text += "\n".join(
            [_TABLE, *rows, "", f"Scoring rule: {_plain(scores[0]['rule'])}.", ""]
        )
    return str(hub.ModelCard(f"---\n{metadata.to_yaml()}\n---\n\n{text}"))


def _score(report: dict, metric: str) -> float:
    """Returns a score from a report; NaN if the report does not contain the score."""
    name = f"{report['split']}/{report['protocol']['name']}/{metric}"
    return report.get(name, math.nan)


_TABLE = """
| split | protocol | images | mean IoU | pixel accuracy |
| --- | --- | --: | --: | --: |"""
_TEXT = """# {name}

Semantic segmentation with encnet_jax: [Context Encoding for Semantic
Segmentation](https://arxiv.org/abs/1803.08904) (CVPR 2018) in JAX.

Install encnet_jax (`pip install .` in a clone of it) and huggingface_hub, then

```python
import encnet_jax

model = encnet_jax.load("hf:OWNER/NAME")  # Or the path of this folder.
result = model("photo.jpg")
```

`--config.init_from=hf:OWNER/NAME` trains it further.

Architecture `{architecture}`, output stride {stride}, step {step} of {steps}, batch
{batch}; training started from {weights}. Data: `{data}`. Classes, in order: {classes}.
"""


def push(output: pathlib.Path, name: str) -> str:
    """Uploads a folder to Hugging Face.

    The access token is the one that `hf auth login` saved, or $HF_TOKEN.

    Args:
        output: the folder, see `write`.
        name: OWNER/NAME; if this repository does not exist, a private repository is
            created.

    Returns:
        The address of the repository.

    Raises:
        UserError: huggingface_hub is missing, or the server rejects the upload.
    """
    hub = folder.import_hub("--push")
    try:
        api = hub.HfApi()
        address = api.create_repo(name, private=True, exist_ok=True)
        api.upload_folder(
            repo_id=name, folder_path=output, commit_message="encnet export"
        )
        return str(address)
    # The errors of HTTP libraries and of huggingface_hub have no common base class.
    except Exception as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise UserError(
            f"{output} was written, but cannot be uploaded to {name}: {reason}; check"
            " the name OWNER/NAME and the token (hf auth login), then upload the folder"
            f" with: hf upload {name} {output}"
        ) from None
