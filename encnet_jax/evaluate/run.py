"""Scoring a checkpoint: from its folder to a report."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
from etils import epath
from tqdm import tqdm

from encnet_jax import config as config_lib
from encnet_jax import tasks
from encnet_jax.checkpoints import read
from encnet_jax.data import dataset_info
from encnet_jax.errors import UserError
from encnet_jax.evaluate import precise_norm, submission, tables
from encnet_jax.pods import parallel
from encnet_jax.pods.signals import Stopped, StopRequest
from encnet_jax.scoring import image_scores, protocols
from encnet_jax.scoring.evaluator import watched_examples
from encnet_jax.scoring.image_scores import ImageScores


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which checkpoint of a run is used, and how.

    Attributes:
        checkpoint: a step, 'best', or None for the newest.
        split: of the data set; None for the default of what is done.
        protocol: None for eval.protocol.
        config: may differ from the checkpoint's in eval.* and data.data_dir only; None
            for the checkpoint's own.
        fields: further fields to change, {'eval.small_object_px': 1024}.
    """

    checkpoint: str | None = None
    split: str | None = None
    protocol: str | None = None
    config: Any = None
    fields: dict = dataclasses.field(default_factory=dict)


NEWEST = Selection()


class Loaded(NamedTuple):
    """A checkpoint, ready to be applied.

    Attributes:
        evaluator: of the task, see scoring.evaluator.
        variables: {'params', 'batch_stats'}, replicated on the local devices.
        config: resolved; the selection's changes applied.
        step: of the checkpoint.
    """

    evaluator: Any
    variables: dict
    config: Any
    step: int


def evaluate_run(workdir: str, selection: Selection = NEWEST) -> dict | None:
    """Scores a checkpoint, prints the table and writes it into WORKDIR as JSON.

    report.json is the newest; report-SPLIT-PROTOCOL.json stays beside those of others.
    Scores of single images, with the best and the worst of them, are kept beside it for
    `encnet report html`; each process writes its own images.

    SIGTERM or Ctrl-C in any process ends it in all; nothing is written then.

    Args:
        workdir: of the run; model and data come from its checkpoint.
        selection: its split is data.val_split unless named.

    Returns:
        The report; see evaluate.tables.make_report. None if it was stopped.

    Raises:
        UserError: no such checkpoint, the split is missing or has no labels, or the
            configuration differs elsewhere.
    """
    report = None
    with _stoppable() as stop:
        loaded = load(workdir, selection, stop=stop)
        report = _score(workdir, loaded, selection.split, stop)
    if report and jax.process_index() == 0:
        name = tables.report_name(report["split"], report["protocol"]["name"])
        path = epath.Path(workdir) / name
        for file in (path, path.with_name("report.json")):
            tables.save_report(file, report)
        print(tables.format_report(report))
        print(f"report: {path}, and as report.json")
    return report


def _score(workdir: str, loaded: Loaded, split: str | None, stop: StopRequest) -> dict:
    """Returns the report of a split; keeps the scores of its images in the workdir."""
    evaluator, variables, config, step = loaded
    dataset = tasks.open_dataset(config)
    split = split or config.data.val_split
    if not split:
        raise UserError("the run has no validation split: name one, --split test")
    dataset.num_labelled(split)
    examples, total = watched_examples(dataset, split, config.eval.max_images, stop)
    small_px, by_size = config.eval.small_object_px, None
    kept = ImageScores() if config.task == "segmentation" else None
    watched = {"watch": kept.add} if kept else {}
    if small_px:
        matrix, *by_size = evaluator.confusion_by_size(
            variables, examples, small_px, total, **watched
        )
    else:
        matrix = evaluator.confusion(variables, examples, total, **watched)
    if kept:
        protocol = tables.protocol_name(config.eval.protocol, config.eval.refine)
        name = image_scores.file_name(split, protocol, jax.process_index())
        kept.save(epath.Path(workdir) / name, matrix)
    return tables.make_report(
        matrix,
        dataset.info.class_names,
        config=config,
        step=step,
        split=split,
        num_images=total,
        by_size=by_size,
    )


@contextlib.contextmanager
def _stoppable() -> Iterator[StopRequest]:
    """Ends what is inside where a stop is agreed, and says so."""
    try:
        with StopRequest() as stop:
            yield stop
    except Stopped as reason:
        if jax.process_index() == 0:
            print(
                f"evaluation stopped by {reason}: nothing was written; the same"
                " command starts it anew"
            )


def submit_run(
    workdir: str, server_name: str, output: str | None, selection: Selection = NEWEST
) -> None:
    """Labels the test images and writes the archive that a test server takes.

    SIGTERM or Ctrl-C ends it; nothing is written then.

    Args:
        workdir: of the run.
        server_name: one of evaluate.submission.SERVERS.
        output: the archive.
        selection: its split is 'test' unless named.

    Raises:
        UserError: the run is of another data set, the archive would be refused, or
            several processes were started.
    """
    server = submission.find(server_name, output or "")
    if jax.process_count() > 1:
        raise UserError("an archive is written by one process: run this on one host")
    with _stoppable() as stop:
        evaluator, variables, config, step = load(
            workdir, selection, whole_images=True, stop=stop
        )
        if config.data.name != server.dataset:
            raise UserError(
                f"{workdir} has data.name {config.data.name!r}; {server_name} wants"
                f" a run on {server.dataset!r}"
            )
        dataset = tasks.open_dataset(config)
        split = selection.split or "test"
        examples, total = watched_examples(dataset, split, 0, stop)
        labelled = evaluator.predict(variables, examples)
        predictions = ((example["id"], ids) for example, ids in labelled)
        shown = tqdm(predictions, "label", total, unit="image")
        done = submission.write(server, output, shown)
        print(f"{output}: {done} images by step {step}, passed the server's checks")


def load(
    workdir: str,
    selection: Selection = NEWEST,
    *,
    whole_images: bool = False,
    stop: StopRequest | None = None,
) -> Loaded:
    """Reads a checkpoint and prepares the evaluation that its configuration says.

    Args:
        workdir: of the run.
        selection: which checkpoint, and what to change; its split is not looked at.
        whole_images: label all of an image, whatever part the protocol scores.
        stop: may end the measuring of batch norms; None: nothing does.

    Raises:
        UserError: no such checkpoint, an unknown protocol, a field that may not change.
    """
    protocol = selection.protocol
    if protocol not in (None, *protocols.PROTOCOLS):
        known = ", ".join(protocols.PROTOCOLS)
        raise UserError(f"--protocol is {protocol!r}, wanted one of: {known}")
    step = read.find_step(workdir, _step_or_best(selection.checkpoint))
    variables, saved = read.restore_variables(workdir, step)
    saved = config_lib.completed(saved)
    if selection.config is not None:
        _take_free_fields(saved, selection.config)
    saved.eval.protocol = protocol or saved.eval.protocol
    saved.update_from_flattened_dict(selection.fields)
    if whole_images:
        saved.eval.protocol = protocols.of_whole_images(saved.eval.protocol)
    config = config_lib.resolve(saved)
    num_classes = dataset_info(config.data).num_classes
    task = tasks.of(config)
    model = task.build_model(config, num_classes, None)
    evaluator = task.make_evaluator(model, config, num_classes)
    if config.eval.precise_norm_steps:
        variables = precise_norm.measured_anew(
            variables, config, tasks.open_dataset(config), stop or StopRequest()
        )
    return Loaded(evaluator, parallel.replicate(variables), config, step)


def _step_or_best(checkpoint: str | None) -> int | str | None:
    """Returns the step that --checkpoint names, 'best', or None for the newest."""
    if checkpoint in (None, "best"):
        return checkpoint
    if not checkpoint.isdigit():
        raise UserError(f"--checkpoint is {checkpoint!r}, wanted a step or 'best'")
    return int(checkpoint)


def _take_free_fields(saved, config) -> None:
    """Takes eval.* and data.data_dir of a configuration; the rest must agree."""
    given = config_lib.resolve(config)
    saved_flat, given_flat = config_lib.flatten(saved), config_lib.flatten(given)
    for field, value in given_flat.items():
        if field == "data.data_dir" or field.startswith("eval."):
            saved.update_from_flattened_dict({field: value})
        elif field.startswith(("data.", "model.")) and saved_flat.get(field) != value:
            raise UserError(
                f"the checkpoint has {field} = {saved_flat.get(field)!r}, --config has"
                f" {value!r}; only eval.* and data.data_dir may differ"
            )
