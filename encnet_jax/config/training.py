"""Fields of the loss and of what is trained that exclude each other."""

from typing import Any

from encnet_jax.errors import UserError

_OF_PIXELS = (
    "loss.class_weights",
    "loss.class_weighting",
    "loss.focal_gamma",
    "loss.ohem_threshold",
    "loss.ohem_min_kept",
    "loss.dice_weight",
)


def check_together(values: dict[str, Any]) -> None:
    """Checks fields that are each in range.

    Args:
        values: dotted field name -> value.

    Raises:
        UserError: two exclude each other.
    """
    if values["loss.focal_gamma"] and values["loss.label_smoothing"]:
        raise UserError(
            "loss.focal_gamma and loss.label_smoothing exclude each other: set one to 0"
        )
    name, task = values["model.name"], values["task"]
    without = _OF_PIXELS
    if name == "piecewise_crf":
        without = (*_OF_PIXELS, "loss.label_smoothing")
    elif task == "segmentation":
        without = ()
    for field in without:
        if values[field]:
            raise UserError(
                f"{field} is {values[field]!r}, which model.name {name!r} of task"
                f" {task!r} does not support: leave it out"
            )
    if values["train.freeze"]:
        _check_freeze(values, name, task)


def _check_freeze(values: dict[str, Any], name: str, task: str) -> None:
    if values["eval.precise_norm_steps"]:
        raise UserError(
            "eval.precise_norm_steps measures batch norms again, and train.freeze keeps"
            " the backbone's: set one of them to 0 or ''"
        )
    has_backbone = task == "segmentation" or name == "backbone"
    if name == "piecewise_crf" or not has_backbone:
        raise UserError(
            f"train.freeze is {values['train.freeze']!r}, and model.name {name!r}"
            " cannot freeze it: wanted ''"
        )
