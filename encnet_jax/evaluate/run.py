"""Scoring a checkpoint: from its folder to a report."""

import contextlib
from collections.abc import Iterator

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
from encnet_jax.scoring.evaluator import watched_examples
from encnet_jax.scoring.protocols import PROTOCOLS


def evaluate_run(
    workdir: str,
    *,
    checkpoint: str | None = None,
    split: str | None = None,
    protocol: str | None = None,
    config=None,
    fields: dict | None = None,
) -> dict | None:
    """Scores a checkpoint, prints the table and writes it into WORKDIR as JSON.

    report.json is the newest; report-SPLIT-PROTOCOL.json stays beside those of others.

    SIGTERM or Ctrl-C in any process ends it in all; nothing is written then.

    Args:
        workdir: of the run; model and data come from its checkpoint.
        checkpoint: a step, 'best', or None for the newest.
        split: None for data.val_split.
        protocol: None for eval.protocol.
        config: may differ from the checkpoint's in eval.* and data.data_dir only.
        fields: further fields to change, {'eval.small_object_px': 1024}.

    Returns:
        The report; see evaluate.tables.make_report. None if it was stopped.

    Raises:
        UserError: no such checkpoint, the split is missing or has no labels, or the
            configuration differs elsewhere.
    """
    parallel.enable_compilation_cache()
    report = None
    with _stoppable() as stop:
        evaluator, variables, saved, step = load(
            workdir,
            checkpoint,
            config=config,
            protocol=protocol,
            fields=fields,
            stop=stop,
        )
        report = _score(evaluator, variables, saved, split, step, stop)
    if report and jax.process_index() == 0:
        name = tables.report_name(report["split"], report["protocol"]["name"])
        path = epath.Path(workdir) / name
        for file in (path, path.with_name("report.json")):
            tables.save_report(file, report)
        print(tables.format_report(report))
        print(f"report: {path}, and as report.json")
    return report


def _score(evaluator, variables, saved, split, step, stop) -> dict:
    """Returns the report of a split."""
    dataset = tasks.open_dataset(saved)
    split = split or saved.data.val_split
    if not split:
        raise UserError("the run has no validation split: name one, --split test")
    dataset.num_labelled(split)
    examples, total = watched_examples(dataset, split, saved.eval.max_images, stop)
    small_px, by_size = saved.eval.small_object_px, None
    if small_px:
        matrix, *by_size = evaluator.confusion_by_size(
            variables, examples, small_px, total
        )
    else:
        matrix = evaluator.confusion(variables, examples, total)
    return tables.make_report(
        matrix,
        dataset.info.class_names,
        config=saved,
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
    workdir: str,
    server_name: str,
    output: str | None,
    *,
    checkpoint: str | None = None,
    split: str | None = None,
    protocol: str | None = None,
    config=None,
    fields: dict | None = None,
) -> None:
    """Labels the test images and writes the archive that a test server takes.

    SIGTERM or Ctrl-C ends it; nothing is written then.

    Args:
        workdir, checkpoint, protocol, config, fields: see evaluate_run.
        server_name: one of evaluate.submission.SERVERS.
        output: the archive.
        split: None for 'test'.

    Raises:
        UserError: the run is of another data set, the archive would be refused, or
            several processes were started.
    """
    parallel.enable_compilation_cache()
    server = submission.find(server_name, output or "")
    if jax.process_count() > 1:
        raise UserError("an archive is written by one process: run this on one host")
    with _stoppable() as stop:
        evaluator, variables, saved, step = load(
            workdir,
            checkpoint,
            config=config,
            protocol=protocol,
            fields=fields,
            whole_images=True,
            stop=stop,
        )
        if saved.data.name != server.dataset:
            raise UserError(
                f"{workdir} has data.name {saved.data.name!r}; {server_name} wants"
                f" a run on {server.dataset!r}"
            )
        dataset = tasks.open_dataset(saved)
        examples, total = watched_examples(dataset, split or "test", 0, stop)
        labelled = evaluator.predict(variables, examples)
        predictions = ((example["id"], ids) for example, ids in labelled)
        shown = tqdm(predictions, "label", total, unit="image")
        done = submission.write(server, output, shown)
        print(f"{output}: {done} images by step {step}, passed the server's checks")


def load(
    workdir: str,
    step_wanted: str | None,
    *,
    config=None,
    protocol: str | None = None,
    fields: dict | None = None,
    whole_images: bool = False,
    stop: StopRequest | None = None,
):
    """Returns (evaluator, replicated variables, resolved configuration, step).

    Args:
        workdir, config, protocol, fields: see evaluate_run.
        step_wanted: its `checkpoint`.
        whole_images: label all of an image; 'centre_crop' becomes 'single'.
        stop: may end the measuring of batch norms; None: nothing does.
    """
    if step_wanted is not None and step_wanted != "best":
        if not step_wanted.isdigit():
            raise UserError(f"--checkpoint is {step_wanted!r}, wanted a step or 'best'")
        step_wanted = int(step_wanted)
    if protocol not in (None, *PROTOCOLS):
        known = ", ".join(PROTOCOLS)
        raise UserError(f"--protocol is {protocol!r}, wanted one of: {known}")
    step = read.find_step(workdir, step_wanted)
    variables, saved = read.restore_variables(workdir, step)
    saved = config_lib.completed(saved)
    if config is not None:
        _take_free_fields(saved, config)
    if protocol is not None:
        saved.eval.protocol = protocol
    saved.update_from_flattened_dict(fields or {})
    if whole_images and saved.eval.protocol == "centre_crop":
        saved.eval.protocol = "single"
    saved = config_lib.resolve(saved)
    num_classes = dataset_info(saved.data).num_classes
    task = tasks.TASKS[saved.task]
    model = task.build_model(saved, num_classes, None)
    evaluator = task.make_evaluator(model, saved, num_classes)
    if saved.eval.precise_norm_steps:
        variables = precise_norm.measured_anew(
            variables, saved, tasks.open_dataset(saved), stop or StopRequest()
        )
    return evaluator, parallel.replicate(variables), saved, step


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
