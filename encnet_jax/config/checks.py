"""Checks the value of each field of a configuration, and combinations of values."""

from collections.abc import Mapping, Sequence
from typing import Any

from encnet_jax.config import table
from encnet_jax.errors import UserError, short
from encnet_jax.fields import LARGEST_INT32, Allowed, one_of
from encnet_jax.losses import LOSSES
from encnet_jax.models import CLASSIFIERS, HEADS

_ALLOWED_IN_TASK = {
    "segmentation": {
        "model.draw_smoothing": one_of(False),
        "model.block": one_of("paper"),
        "data.keep_last_batch": one_of(False),
    },
    "classification": {
        "model.name": one_of(*CLASSIFIERS, "backbone"),
        "train.num_pictures": one_of(0),
        "eval.protocol": one_of("single"),
        "train.val_protocol": one_of("single"),
        "eval.small_object_px": one_of(0),
        "eval.refine": one_of("none"),
    },
}
# Fields that affect the pixel-wise loss terms, but no other loss terms.
_OF_PIXELS = ("loss.class_weights", "loss.class_weighting")


def check_each(values: Mapping[str, Any]) -> None:
    """Checks the value of each field separately.

    Args:
        values: {dotted field name: value}; the value of an unset field is None.

    Raises:
        UserError: a value is not allowed, or a field is unknown. The message reports
            only the first problem.
    """
    fields = table.fields()
    for name in values:
        if name not in fields:
            raise UserError(table.unknown(name))
    _check_allowed(values, {name: field.allowed for name, field in fields.items()})


def check_together(values: Mapping[str, Any]) -> None:
    """Checks combinations of field values; call `check_each` first.

    Args:
        values: {dotted field name: value} with all fields.

    Raises:
        UserError: the values of some fields are incompatible. The message reports only
            the first conflict.
    """
    if values["task"] == "segmentation":
        _check_allowed(values, {"model.name": one_of(*HEADS)})
    _check_allowed(values, _ALLOWED_IN_TASK[values["task"]])
    low, high = values["data.augment.scale_min"], values["data.augment.scale_max"]
    if low > high:
        raise UserError(
            f"data.augment.scale_min is {low}; expected at most"
            f" data.augment.scale_max, which is {high}"
        )
    if values["model.lateral"] and values["model.output_stride"] != 8:
        raise UserError(
            f"model.output_stride is {values['model.output_stride']}; expected 8,"
            " because model.lateral fuses feature maps of equal size"
        )
    head: Mapping[str, Any] = {}
    if values["task"] == "segmentation":
        head = HEADS.registration(values["model.name"]).facts
    if "network" in head:
        _check_own_network(values)
    _check_loss(values, head.get("loss_terms"))
    if values["train.freeze"]:
        _check_freeze(values)
    if values["model.block"] == "authors" and values["model.name"] == "se_resnet":
        raise UserError(
            "model.block is 'authors', but the authors' code has no SE-ResNet; expected"
            " model.block 'paper', or model.name 'resnet' or 'encnet'"
        )
    batch_size, parts = values["train.batch_size"], values["train.accumulate"]
    if batch_size % parts:
        raise UserError(
            f"train.batch_size is {batch_size}; expected a multiple of"
            f" train.accumulate, which is {parts}"
        )


def check_total_steps(total_steps: float, epochs: float) -> None:
    """Raises UserError if a run has more than 2**31 - 1 steps."""
    if total_steps > LARGEST_INT32:
        raise UserError(
            f"train.epochs is {epochs} ({total_steps:.0f} steps); expected at most"
            f" {LARGEST_INT32} steps"
        )


def _check_allowed(values: Mapping[str, Any], allowed: Mapping[str, Allowed]) -> None:
    for field, rule in allowed.items():
        value = values.get(field)
        if value is not None and not rule.fits(value):
            raise UserError(f"{field} is {short(value)}; expected {rule.words}")


def _check_own_network(values: Mapping[str, Any]) -> None:
    """Raises UserError if model.aux or model.mask_padding is set.

    Models without a separate backbone do not support these fields.
    """
    name = values["model.name"]
    if values["model.aux"] != "none":
        raise UserError(
            f"model.aux is {values['model.aux']!r}; expected 'none', because model.name"
            f" {name!r} has no auxiliary head"
        )
    if values["model.mask_padding"]:
        raise UserError(
            f"model.mask_padding is True; expected False, because model.name {name!r}"
            " cannot ignore the padding around an image"
        )


def _check_loss(values: Mapping[str, Any], terms: Sequence[str] | None) -> None:
    """Checks that the loss fields are compatible with each other and the network.

    Args:
        values: {dotted field name: value} with all fields.
        terms: names of the loss terms that a segmentation head supports; None if the
            head supports all terms, and for classification.
    """
    entries = {name: LOSSES.registration(name) for name in LOSSES}
    for entry in entries.values():
        for one, other in entry.facts.get("excludes", ()):
            if values[one] and values[other]:
                raise UserError(
                    f"{one} and {other} exclude each other: set one of them to 0"
                )
    name, task = values["model.name"], values["task"]
    if task == "segmentation" and terms is None:
        return
    unsupported = [field for field in _OF_PIXELS if values[field]]
    for term, entry in entries.items():
        if term not in (terms or ()):
            own = entry.fields.items()
            unsupported += [field for field, x in own if values[field] != x.default]
    if terms is not None and values["loss.label_smoothing"]:
        unsupported.append("loss.label_smoothing")
    if unsupported:
        field = unsupported[0]
        raise UserError(
            f"{field} is {values[field]!r}, which model.name {name!r} of task {task!r}"
            f" does not support: leave {field} at its default"
        )


def _check_freeze(values: Mapping[str, Any]) -> None:
    if values["eval.precise_norm_steps"]:
        raise UserError(
            "eval.precise_norm_steps recomputes batch-norm statistics, but train.freeze"
            " keeps those of the backbone: set eval.precise_norm_steps to 0, or"
            " train.freeze to ''"
        )
    name, freeze = values["model.name"], values["train.freeze"]
    has_backbone = values["task"] == "segmentation" or name == "backbone"
    supported = has_backbone and freeze == "backbone"
    if name == "piecewise_crf":
        supported = freeze == "coarse" and values["model.crf.refine"] > 0
    if not supported:
        refined = "; 'coarse' requires model.name 'piecewise_crf' with model.crf.refine"
        refined += " above 0"
        raise UserError(
            f"train.freeze is {freeze!r}, which model.name {name!r} does not"
            f" support; set train.freeze to ''{refined if freeze == 'coarse' else ''}"
        )
