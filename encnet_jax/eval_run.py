"""Scoring a checkpoint: from its folder to a report."""

import jax
from etils import epath
from tqdm import tqdm

from encnet_jax import checkpoint as checkpoint_lib
from encnet_jax import config as config_lib
from encnet_jax import parallel, precise_norm, tasks
from encnet_jax.data import dataset_info
from encnet_jax.errors import UserError
from encnet_jax.report import submission, tables


def evaluate_run(
    workdir: str,
    *,
    checkpoint: str | None = None,
    split: str | None = None,
    protocol: str | None = None,
    config=None,
    fields: dict | None = None,
) -> dict:
    """Scores a checkpoint, prints the table and writes it into WORKDIR as JSON.

    report.json is the newest; report-SPLIT-PROTOCOL.json stays beside those of others.

    Args:
        workdir: of the run; model and data come from its checkpoint.
        checkpoint: a step, 'best', or None for the newest.
        split: None for data.val_split.
        protocol: None for eval.protocol.
        config: may differ from the checkpoint's in eval.* and data.data_dir only.
        fields: further fields to change, {'eval.small_object_px': 1024}.

    Returns:
        The report; see report.tables.make_report.

    Raises:
        UserError: no such checkpoint, the split is missing or has no labels, or the
            configuration differs elsewhere.
    """
    parallel.enable_compilation_cache()
    evaluator, variables, saved, step = load(
        workdir, checkpoint, config=config, protocol=protocol, fields=fields
    )
    dataset = tasks.open_dataset(saved)
    split = split or saved.data.val_split
    if not split:
        raise UserError("the run has no validation split: name one, --split test")
    total = dataset.num_labelled(split)
    total = min(total, saved.eval.max_images or total)
    examples = _examples(dataset, split, saved.eval.max_images)
    small_px, by_size = saved.eval.small_object_px, None
    if small_px:
        matrix, *by_size = evaluator.confusion_by_size(
            variables, examples, small_px, total
        )
    else:
        matrix = evaluator.confusion(variables, examples, total)
    report = tables.make_report(
        matrix,
        dataset.info.class_names,
        config=saved,
        step=step,
        split=split,
        num_images=total,
        by_size=by_size,
    )
    if jax.process_index() == 0:
        path = epath.Path(workdir) / tables.report_name(split, saved.eval.protocol)
        for file in (path, path.with_name("report.json")):
            tables.save_report(file, report)
        print(tables.format_report(report))
        print(f"report: {path}, and as report.json")
    return report


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

    Args:
        workdir, checkpoint, protocol, config, fields: see evaluate_run.
        server_name: one of report.submission.SERVERS.
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
    evaluator, variables, saved, step = load(
        workdir,
        checkpoint,
        config=config,
        protocol=protocol,
        fields=fields,
        whole_images=True,
    )
    if saved.data.name != server.dataset:
        raise UserError(
            f"{workdir} has data.name {saved.data.name!r}; {server_name} wants a run on"
            f" {server.dataset!r}"
        )
    dataset, split = tasks.open_dataset(saved), split or "test"
    total = dataset.num_examples(split)
    examples = _examples(dataset, split, max_images=0)
    predictions = (
        (example["id"], ids) for example, ids in evaluator.predict(variables, examples)
    )
    done = submission.write(
        server, output, tqdm(predictions, "label", total, unit="image")
    )
    print(f"{output}: {done} images by step {step}, passed the server's checks")


def _examples(dataset, split: str, max_images: int):
    return dataset.eval_examples(
        split,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        max_images=max_images,
    )


def load(
    workdir: str,
    step_wanted: str | None,
    *,
    config=None,
    protocol: str | None = None,
    fields: dict | None = None,
    whole_images: bool = False,
):
    """Returns (evaluator, replicated variables, resolved configuration, step).

    Args:
        workdir, config, protocol, fields: see evaluate_run.
        step_wanted: its `checkpoint`.
        whole_images: label all of an image; 'centre_crop' becomes 'single'.
    """
    if step_wanted is not None and step_wanted != "best":
        if not step_wanted.isdigit():
            raise UserError(f"--checkpoint is {step_wanted!r}, wanted a step or 'best'")
        step_wanted = int(step_wanted)
    step = checkpoint_lib.find_step(workdir, step_wanted)
    variables, saved = checkpoint_lib.restore_variables(workdir, step)
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
            variables, saved, tasks.open_dataset(saved)
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
