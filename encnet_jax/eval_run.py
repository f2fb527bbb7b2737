"""Scoring a checkpoint: from its folder to a report."""

import itertools
import pathlib

import jax

from encnet_jax import checkpoint as checkpoint_lib
from encnet_jax import parallel, tasks
from encnet_jax import config as config_lib
from encnet_jax.data import dataset_info, open_dataset
from encnet_jax.errors import UserError
from encnet_jax.eval_lib import Evaluator
from encnet_jax.report import tables


def evaluate_run(
    workdir: str,
    *,
    checkpoint: str | None = None,
    split: str | None = None,
    protocol: str | None = None,
    config=None,
) -> dict:
    """Scores a checkpoint, prints the table and writes WORKDIR/report.json.

    Args:
        workdir: of the run; model and data come from its checkpoint.
        checkpoint: a step, 'best', or None for the newest.
        split: None for data.val_split.
        protocol: None for eval.protocol.
        config: may differ from the checkpoint's in eval.* and data.data_dir only.

    Returns:
        The report; see report.tables.make_report.

    Raises:
        UserError: no such checkpoint, or the configuration differs elsewhere.
    """
    parallel.enable_compilation_cache()
    evaluator, variables, saved, step = load(
        workdir, checkpoint, config=config, protocol=protocol
    )
    dataset = open_dataset(saved.data)
    split = split or saved.data.val_split
    limit = saved.eval.max_images or None
    examples = dataset.eval_examples(
        split, process_index=jax.process_index(), process_count=jax.process_count()
    )
    total = min(dataset.num_examples(split), limit or float("inf"))
    matrix = evaluator.confusion(variables, itertools.islice(examples, limit), total)
    report = tables.make_report(
        matrix,
        dataset.info.class_names,
        config=saved,
        step=step,
        split=split,
        num_images=total,
    )
    if jax.process_index() == 0:
        path = pathlib.Path(workdir) / "report.json"
        tables.save_report(path, report)
        print(tables.format_report(report))
        print(f"report: {path}")
    return report


def load(workdir: str, step_wanted: str | None, *, config=None, protocol=None):
    """Returns (evaluator, replicated variables, resolved configuration, step)."""
    if step_wanted is not None and step_wanted != "best":
        if not step_wanted.isdigit():
            raise UserError(f"--checkpoint is {step_wanted!r}, wanted a step or 'best'")
        step_wanted = int(step_wanted)
    step = checkpoint_lib.find_step(workdir, step_wanted)
    variables, saved = checkpoint_lib.restore_variables(workdir, step)
    if config is not None:
        _take_free_fields(saved, config)
    if protocol is not None:
        saved.eval.protocol = protocol
    saved = config_lib.resolve(saved)
    num_classes = dataset_info(saved.data).num_classes
    model = tasks.TASKS[saved.task].build_model(saved, num_classes, None)
    evaluator = Evaluator(model, saved, num_classes)
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
