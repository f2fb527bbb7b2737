"""Configurations: from file and flags to a checked, frozen, saved dictionary."""

import importlib.util
import json
import pathlib
from collections.abc import Iterator

import ml_collections

from encnet_jax.config import defaults
from encnet_jax.errors import UserError
from encnet_jax.models import HEADS
from encnet_jax.models.cifar import CLASSIFIERS
from encnet_jax.models.resnet import BACKBONES
from encnet_jax.scoring.protocols import PROTOCOLS

# What an architecture puts where a configuration has None; see the README's table.
_PAPER = {
    "model.stem_width": 64,
    "model.align_corners": True,
    "model.head_channels": 512,
    "model.code_pooling": "sum",
    "model.gate": "scale",
    "model.aux": "context",
    "model.lateral": False,
    "model.head_convs": 1,
    "model.head_concat_input": False,
    "optim.head_lr_multiplier": 1.0,
}
# The paper's network with the two parts of the released code that make it learn better.
_TUNED = _PAPER | {"model.code_pooling": "mean", "model.gate": "residual"}
_RELEASE = _PAPER | {
    "model.code_pooling": "mean",
    "model.gate": "residual",
    "model.aux": "fcn",
    "optim.head_lr_multiplier": 10.0,
}
_MMSEG = _RELEASE | {
    "model.stem_width": 32,
    "model.align_corners": False,
    "model.head_convs": 2,
    "model.head_concat_input": True,
    "optim.head_lr_multiplier": 1.0,
}
ARCHITECTURES = {
    "tuned": _TUNED,
    "paper": _PAPER,
    "release": _RELEASE,
    "mmseg": _MMSEG,
}
# Where a model differs from its architecture: the paper's auxiliary head belongs to
# EncNet, and the authors' DeepLabV3 is narrower.
_ALONE = {"model.aux": "none"}
_OF_MODEL = {
    **{(own, name): _ALONE for own in ("tuned", "paper") for name in ("fcn", "pspnet")},
    ("tuned", "deeplabv3"): _ALONE | {"model.head_channels": 256},
    ("paper", "deeplabv3"): _ALONE | {"model.head_channels": 256},
    ("release", "deeplabv3"): {"model.head_channels": 256},
}

_ALLOWED = {
    "task": ("segmentation", "classification"),
    "architecture": tuple(ARCHITECTURES),
    "data.reader": ("tfds", "arrays"),
    "data.augment.scale_relative_to": ("image", "short_side", "long_side"),
    "model.backbone": tuple(BACKBONES),
    "model.stem": ("deep", "conv7"),
    "model.output_stride": (8, 16, 32),
    "model.dtype": ("float32", "bfloat16"),
    "model.code_pooling": ("sum", "mean"),
    "model.gate": ("scale", "residual"),
    "model.aux": ("context", "fcn", "none"),
    "loss.class_weighting": ("", "median_frequency", "inverse_sqrt"),
    "optim.name": ("sgd", "adamw"),
    "optim.schedule": ("poly", "cosine"),
    "train.freeze": ("", "backbone"),
    "eval.protocol": PROTOCOLS,
    "train.val_protocol": PROTOCOLS,
    "eval.absent_classes": ("zero", "skip"),
}
_ALLOWED_IN_TASK = {
    "segmentation": {"model.name": HEADS, "model.draw_smoothing": (False,)},
    "classification": {
        "model.name": (*CLASSIFIERS, "backbone"),
        "loss.class_weighting": ("",),
        "loss.focal_gamma": (0,),
        "loss.ohem_threshold": (0,),
        "loss.ohem_min_kept": (0,),
        "loss.dice_weight": (0,),
        "train.num_pictures": (0,),
        "eval.protocol": ("single",),
        "train.val_protocol": ("single",),
        "eval.small_object_px": (0,),
    },
}
_POSITIVE = (
    "data.crop_size",
    "data.input_scale",
    "loss.row_blocks",
    "model.width",
    "optim.base_lr",
    "optim.lr_batch_size",
    "train.batch_size",
    "train.accumulate",
    "train.log_every_steps",
    "train.checkpoint_every_steps",
    "train.keep_checkpoints",
    "eval.bucket",
    "eval.base_size",
    "eval.crop_size",
    "eval.batch_size",
)
_DECISIVE = ("architecture", "data.name", "model.backbone", "model.name", "task")
# Fields a run may change between starts: they alter neither the weights nor their
# order.
FREE_FIELDS = (
    "eval.",
    "data.data_dir",
    "data.max_unreadable_share",
    "data.on_device",
    "init_from",
    "init_skip",
    "profile",
    "train.log_every_steps",
    "train.max_minutes",
    "train.eval_every_epochs",
    "train.checkpoint_every_steps",
    "train.keep_checkpoints",
    "train.num_pictures",
    "train.val_protocol",
)
# Fields left None that take the value of another.
_FOLLOWING = {
    "eval.base_size": "data.augment.base_size",
    "eval.crop_size": "data.crop_size",
}


def split_spec(spec: str) -> tuple[pathlib.Path, str]:
    """Returns the file and the arguments of `FILE.py[:arguments]`.

    Raises:
        UserError: the file does not exist.
    """
    name, _, arguments = spec.partition(":")
    path = pathlib.Path(name).resolve()
    if not path.is_file():
        files = sorted(pathlib.Path("configs").glob("*.py"))
        known = ", ".join(str(f) for f in files if "def get_config" in f.read_text())
        raise UserError(f"no configuration {name}; there are: {known or 'none here'}")
    return path, arguments


def load(spec: str) -> ml_collections.ConfigDict:
    """Loads `FILE.py[:arguments]` and returns what its get_config(arguments) returns.

    Raises:
        UserError: the file does not exist or has no get_config.
    """
    path, arguments = split_spec(spec)
    module_spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise UserError(f"{path} has no function get_config(arguments)")
    return module.get_config(arguments) if arguments else module.get_config()


def resolve(
    config: ml_collections.ConfigDict, num_examples: int | None = None
) -> ml_collections.FrozenConfigDict:
    """Fills what the architecture decides, checks every value, freezes.

    Args:
        config: as returned by `load`, with overrides applied.
        num_examples: training images; gives `train.total_steps` where it is 0, and
            `train.epochs` otherwise.

    Returns:
        A frozen copy without any None.

    Raises:
        UserError: a value is not allowed, or the data set is smaller than a batch.
    """
    config = ml_collections.ConfigDict(config).copy_and_resolve_references()
    _check_allowed(config, {"architecture": _ALLOWED["architecture"]})
    _fill(config)
    _check(config)
    if num_examples is not None:
        _count_steps(config.train, num_examples)
    return ml_collections.FrozenConfigDict(config)


def _fill(config) -> None:
    """Gives every None its value."""
    fields = dict(ARCHITECTURES[config.architecture])
    fields |= _OF_MODEL.get((config.architecture, config.model.name), {})
    fields |= {field: get(config, source) for field, source in _FOLLOWING.items()}
    for field, value in fields.items():
        if get(config, field) is None:
            with config.unlocked():
                config.update_from_flattened_dict({field: value})
    freeze, frozen = config.train.freeze, tuple(config.optim.frozen)
    if freeze and freeze not in frozen:
        config.optim.frozen = (*frozen, freeze)


def _check(config) -> None:
    """Raises UserError for the first value that is not allowed."""
    _check_allowed(config, _ALLOWED)
    _check_allowed(config, _ALLOWED_IN_TASK[config.task])
    for field in _POSITIVE:
        if not get(config, field) > 0:
            raise UserError(f"{field} is {get(config, field)}, wanted more than 0")
    _check_loss(config)
    for name in ("brightness", "contrast", "saturation", "hue"):
        value, most = config.data.augment[name], 0.5 if name == "hue" else 1
        if not 0 <= value <= most:
            raise UserError(f"data.augment.{name} is {value}, wanted 0 to {most}")
    if not 0 < config.data.augment.area_min <= 1:
        raise UserError(
            f"data.augment.area_min is {config.data.augment.area_min}, wanted above 0"
            " and at most 1"
        )
    if config.train.freeze and config.eval.precise_norm_steps:
        raise UserError(
            "eval.precise_norm_steps measures batch norms again, and train.freeze keeps"
            " the backbone's: set one of them to 0 or ''"
        )
    for field in ("optim.clip_norm", "optim.clip_value"):
        if get(config, field) < 0:
            raise UserError(f"{field} is {get(config, field)}, wanted at least 0")
    for field in ("optim.momentum", "optim.adam_beta2"):
        if not 0 <= get(config, field) < 1:
            raise UserError(f"{field} is {get(config, field)}, wanted 0 to below 1")
    scales = tuple(config.eval.scales)
    if not scales or not all(isinstance(s, (int, float)) and s > 0 for s in scales):
        raise UserError(f"eval.scales is {scales}, wanted one or more numbers above 0")
    if config.model.lateral and config.model.output_stride != 8:
        raise UserError(
            "model.lateral joins stages of one size, and model.output_stride is"
            f" {config.model.output_stride}: wanted 8"
        )
    if config.train.batch_size % config.train.accumulate:
        raise UserError(
            f"train.batch_size {config.train.batch_size} does not divide into"
            f" train.accumulate {config.train.accumulate} equal parts"
        )


def _check_loss(config) -> None:
    loss = config.loss
    weights = tuple(loss.class_weights)
    if not all(isinstance(w, (int, float)) and w >= 0 for w in weights):
        raise UserError(
            f"loss.class_weights is {weights}, wanted numbers of at least 0; for a rule"
            " set loss.class_weighting"
        )
    if weights and config.task != "segmentation":
        raise UserError(
            f"loss.class_weights is {weights}, and task {config.task!r} has none: ()"
        )
    for field, high in (("label_smoothing", 1), ("ohem_threshold", 1.0001)):
        if not 0 <= loss[field] < high:
            raise UserError(f"loss.{field} is {loss[field]}, wanted 0 to 1")
    for field in ("focal_gamma", "ohem_min_kept", "dice_weight"):
        if loss[field] < 0:
            raise UserError(f"loss.{field} is {loss[field]}, wanted at least 0")
    if loss.focal_gamma and loss.label_smoothing:
        raise UserError(
            "loss.focal_gamma and loss.label_smoothing exclude each other: set one to 0"
        )


def _count_steps(train, num_examples: int) -> None:
    """Derives total_steps from epochs, or epochs from total_steps."""
    steps_per_epoch = num_examples // train.batch_size
    if not steps_per_epoch:
        raise UserError(
            f"{num_examples} training images do not fill one batch of"
            f" {train.batch_size}: lower train.batch_size"
        )
    if train.total_steps > 0:
        train.epochs = train.total_steps / steps_per_epoch
    else:
        train.total_steps = max(1, round(train.epochs * steps_per_epoch))


def _check_allowed(config, allowed: dict[str, tuple]) -> None:
    for field, values in allowed.items():
        value = get(config, field)
        if value not in values:
            choices = ", ".join(map(str, values))
            raise UserError(f"{field} is {value!r}, wanted one of: {choices}")


def get(config, field: str):
    """Returns the value of a dotted field name."""
    for part in field.split("."):
        config = config[part]
    return config


def replaced(config, fields: dict) -> ml_collections.FrozenConfigDict:
    """Returns a frozen copy with some fields changed: {dotted field name: value}."""
    copy = ml_collections.ConfigDict(config)
    copy.update_from_flattened_dict(fields)
    return ml_collections.FrozenConfigDict(copy)


def completed(saved: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Gives fields that came after a configuration was saved their default values."""
    known = json.loads(to_json(defaults.get_config()))
    return from_json(json.dumps(_merged(known, json.loads(to_json(saved)))))


def _merged(defaults: dict, given: dict) -> dict:
    merged = defaults | given
    for key, value in defaults.items():
        if isinstance(value, dict) and isinstance(given.get(key), dict):
            merged[key] = _merged(value, given[key])
    return merged


def to_json(config) -> str:
    """Returns the configuration as JSON text; tuples become lists."""
    return json.dumps(config.to_dict(), indent=2, sort_keys=True)


def from_json(text: str) -> ml_collections.ConfigDict:
    """Returns the locked configuration that `to_json` wrote."""
    return ml_collections.ConfigDict(json.loads(text)).lock()


def flatten(config) -> dict:
    """Returns {dotted field name: value}, in the order of the names."""
    return dict(_flatten(json.loads(to_json(config)), ""))


def _flatten(node: dict, prefix: str) -> Iterator[tuple[str, object]]:
    for key, value in sorted(node.items()):
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def first_difference(old, new) -> str | None:
    """Names the first field in which two configurations differ for good, or None.

    Fields of FREE_FIELDS may differ. Those that others follow from come first: a
    changed model is told as such, not by one of its widths.
    """
    old, new = flatten(old), flatten(new)
    fields = sorted(old.keys() | new.keys(), key=lambda x: (x not in _DECISIVE, x))
    for field in fields:
        if not field.startswith(FREE_FIELDS) and old.get(field) != new.get(field):
            return f"{field} was {old.get(field)!r} and is now {new.get(field)!r}"
    return None
