"""From a run's folder to a checkpoint that is ready to be applied."""

import dataclasses
from typing import Any, NamedTuple

from encnet_jax import config as config_lib
from encnet_jax import tasks
from encnet_jax.checkpoints import read
from encnet_jax.data import dataset_info
from encnet_jax.errors import UserError
from encnet_jax.evaluate import precise_norm
from encnet_jax.models.folding import fold_batch_norms
from encnet_jax.pods import parallel
from encnet_jax.pods.signals import StopRequest
from encnet_jax.scoring import protocols


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
    wanted = _step_or_best(selection.checkpoint)
    variables, saved, step = read.restore(workdir, wanted)
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
        variables = precise_norm.recomputed(
            variables, config, tasks.open_dataset(config), stop or StopRequest()
        )
    if config.task == "segmentation":
        variables = fold_batch_norms(variables, config.model.norm_epsilon)
    return Loaded(evaluator, parallel.replicate(variables), config, step)


def _step_or_best(checkpoint: str | None) -> int | str | None:
    """Returns the step that --checkpoint names, 'best', or None for the newest."""
    if checkpoint in (None, "best"):
        return checkpoint
    if not checkpoint.isdecimal():
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
