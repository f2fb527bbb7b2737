"""Configurations: from file and flags to a checked, frozen, saved dictionary."""

import importlib.util
import json
import pathlib
from collections.abc import Iterator

import ml_collections

from encnet_jax.config import defaults
from encnet_jax.config.architectures import ARCHITECTURES, decided_fields
from encnet_jax.config.training import check_training
from encnet_jax.config.upsampling import check_upsampling
from encnet_jax.errors import UserError
from encnet_jax.models import HEADS
from encnet_jax.models.cifar import CLASSIFIERS
from encnet_jax.models.piecewise_crf import FEATURES, PAIRWISE
from encnet_jax.models.resnet import BACKBONES
from encnet_jax.preprocess import PIXELS
from encnet_jax.scoring.protocols import PROTOCOLS

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
    "model.block": ("paper", "authors"),
    "model.pixels": tuple(PIXELS),
    "model.crf.features": tuple(FEATURES),
    "model.crf.pairwise": tuple(PAIRWISE),
    "loss.class_weighting": ("", "median_frequency", "inverse_sqrt"),
    "loss.labels": ("upsampled", "thinned"),
    "optim.name": ("sgd", "adamw"),
    "optim.schedule": ("poly", "cosine", "halving"),
    "train.freeze": ("", "backbone"),
    "eval.refine": ("none", "dense"),
    "eval.protocol": PROTOCOLS,
    "train.val_protocol": PROTOCOLS,
    "eval.upsampled": ("logits", "probabilities"),
    "eval.absent_classes": ("zero", "skip"),
}
_ALLOWED_IN_TASK = {
    "segmentation": {
        "model.name": HEADS,
        "model.draw_smoothing": (False,),
        "model.block": ("paper",),
        "data.keep_last_batch": (False,),
    },
    "classification": {
        "model.name": (*CLASSIFIERS, "backbone"),
        "train.num_pictures": (0,),
        "eval.protocol": ("single",),
        "train.val_protocol": ("single",),
        "eval.small_object_px": (0,),
        "eval.refine": ("none",),
    },
}
_POSITIVE = (
    "data.crop_size",
    "data.input_scale",
    "loss.row_blocks",
    "model.width",
    "model.norm_epsilon",
    "model.crf.hidden_channels",
    "model.crf.max_score_mib",
    "optim.base_lr",
    "optim.lr_batch_size",
    "optim.halving_parts",
    "train.batch_size",
    "train.accumulate",
    "train.log_every_steps",
    "train.checkpoint_every_steps",
    "train.keep_checkpoints",
    "eval.bucket",
    "eval.base_size",
    "eval.crop_size",
    "eval.batch_size",
    "eval.dense.bilateral_px",
    "eval.dense.bilateral_levels",
    "eval.dense.spatial_px",
    "eval.dense.radius",
)
_NOT_NEGATIVE = (
    "loss.unary_weight",
    "loss.pairwise_weight",
    "model.crf.num_updates",
    "eval.dense.bilateral_weight",
    "eval.dense.spatial_weight",
    "eval.dense.iterations",
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
    "model.mask_padding",  # Training crops have no canvas around them,
    "model.reference_positions",  # and as many positions as this says.
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
        _count_steps(config, num_examples)
    return ml_collections.FrozenConfigDict(config)


def _fill(config) -> None:
    """Gives every None its value."""
    fields = decided_fields(config.architecture, config.model.name)
    fields |= {field: get(config, source) for field, source in _FOLLOWING.items()}
    masked = get(config, "model.mask_padding")
    masked = fields["model.mask_padding"] if masked is None else masked
    side = -(-config.data.crop_size // config.model.output_stride)
    fields["model.reference_positions"] = side * side if masked else 0
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
    for field in _NOT_NEGATIVE:
        if get(config, field) < 0:
            raise UserError(f"{field} is {get(config, field)}, wanted 0 or more")
    if not 0 < config.model.crf.box <= 1:
        raise UserError(
            f"model.crf.box is {config.model.crf.box}, wanted a share of the map's"
            " short side: above 0, at most 1"
        )
    if config.model.name == "piecewise_crf" and config.model.aux != "none":
        raise UserError(
            f"model.aux is {config.model.aux!r}, and a piecewise_crf has no auxiliary"
            " head: wanted 'none'"
        )
    if config.model.name == "piecewise_crf" and config.model.mask_padding:
        raise UserError(
            "model.mask_padding is True, and a piecewise_crf sees all of a canvas:"
            " wanted False"
        )
    check_training(config)
    scales = tuple(config.eval.scales)
    if not scales or not all(isinstance(s, (int, float)) and s > 0 for s in scales):
        raise UserError(f"eval.scales is {scales}, wanted one or more numbers above 0")
    if config.model.lateral and config.model.output_stride != 8:
        raise UserError(
            "model.lateral joins stages of one size, and model.output_stride is"
            f" {config.model.output_stride}: wanted 8"
        )
    check_upsampling(config)
    if config.model.block == "authors" and config.model.name == "se_resnet":
        raise UserError(
            "model.block is 'authors', and their code has no SE-ResNet: wanted"
            " model.block='paper', or model.name one of resnet, encnet"
        )
    if config.train.batch_size % config.train.accumulate:
        raise UserError(
            f"train.batch_size {config.train.batch_size} does not divide into"
            f" train.accumulate {config.train.accumulate} equal parts"
        )


def _count_steps(config, num_examples: int) -> None:
    """Derives total_steps from epochs, or epochs from total_steps."""
    train, steps = config.train, steps_per_epoch(config, num_examples)
    if train.total_steps > 0:
        train.epochs = train.total_steps / steps
    else:
        train.total_steps = max(1, round(train.epochs * steps))


def steps_per_epoch(config, num_examples: int) -> int:
    """Returns the number of training steps in an epoch.

    Args:
        config: resolved, but for the length of the run.
        num_examples: training images.

    Raises:
        UserError: they do not fill a batch.
    """
    whole, left = divmod(num_examples, config.train.batch_size)
    if not whole:
        raise UserError(
            f"{num_examples} training images do not fill one batch of"
            f" {config.train.batch_size}: lower train.batch_size"
        )
    return whole + (config.data.keep_last_batch and left > 0)


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


# Fields that came later and whose default is not what a run did that lacks them.
_AS_BEFORE = {"mask_padding": False, "reference_positions": 0}


def completed(saved: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Gives fields that came after a configuration was saved their default values.

    Those that are open by default get what the architecture decides. Where the default
    changes what a trained run computes, they get what it did before.
    """
    known = json.loads(to_json(defaults.get_config()))
    known["model"] |= _AS_BEFORE
    config = from_json(json.dumps(_merged(known, json.loads(to_json(saved)))))
    _fill(config)
    return config


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
