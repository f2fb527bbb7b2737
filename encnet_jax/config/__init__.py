"""Configurations: from file and flags to a checked, frozen, saved dictionary."""

import importlib.util
import json
import pathlib
from collections.abc import Iterator

import ml_collections

from encnet_jax import storage
from encnet_jax.config import checks, defaults, pretrained, table
from encnet_jax.config.architectures import FOLLOWING, decided_fields
from encnet_jax.errors import UserError
from encnet_jax.models.upsampling import check_upsampling

_DECISIVE = ("architecture", "data.name", "model.backbone", "model.name", "task")
# Fields a run may change between starts: they alter neither the weights nor their
# order.
FREE_FIELDS = (
    "eval.",
    "data.data_dir",
    "data.max_unreadable_share",
    "data.max_file_mib",
    "data.max_megapixels",
    "data.on_device",
    "init_from",
    "init_skip",
    "loss.row_blocks",  # Memory, and the order of a sum.
    "model.mask_padding",  # Training crops have no canvas around them,
    "model.reference_positions",  # and as many positions as this says.
    "profile",
    "train.log_every_steps",
    "train.max_minutes",
    "train.eval_every_epochs",
    "train.checkpoint_every_minutes",
    "train.checkpoint_every_steps",
    "train.keep_checkpoints",
    "train.num_pictures",
    "train.val_protocol",
)


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
    """Fills what weights and architecture decide, checks every value, freezes.

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
    checks.check_each(dict(_flatten(config.to_dict(), "")))
    pretrained.follow(config)
    _fill(config)
    values = dict(_flatten(config.to_dict(), ""))
    checks.check_each(values)
    checks.check_together(values)
    if config.task == "segmentation":
        sides = ("data.crop_size", "eval.crop_size", "eval.bucket")
        check_upsampling(config.model, {side: get(config, side) for side in sides})
    if num_examples is not None:
        _count_steps(config, num_examples)
    return ml_collections.FrozenConfigDict(config)


def _fill(config) -> None:
    """Gives every None its value."""
    fields = decided_fields(config.architecture, config.model.name)
    fields |= {field: get(config, source) for field, source in FOLLOWING.items()}
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


def _count_steps(config, num_examples: int) -> None:
    """Derives total_steps from epochs, or epochs from total_steps."""
    train, steps = config.train, steps_per_epoch(config, num_examples)
    if train.total_steps > 0:
        train.epochs = train.total_steps / steps
    else:
        checks.check_total_steps(train.epochs * steps, train.epochs)
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
    config = from_dict(_merged(known, json.loads(to_json(saved))))
    _fill(config)
    return config


def from_saved(values: object, where: object) -> ml_collections.ConfigDict:
    """Returns a configuration of a file, checked and completed.

    Args:
        values: the JSON value.
        where: the file, for the error.

    Raises:
        UserError: it is no configuration, or a value is not allowed.
    """
    known = json.loads(to_json(defaults.get_config()))
    wrong = _other_shape(values, known, "")
    if wrong:
        raise UserError(f"{where} holds no configuration of a run: {wrong}; restore it")
    try:
        checks.check_each(dict(_flatten(_merged(known, values), "")))
        return completed(from_dict(values))
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def read_saved(path) -> ml_collections.ConfigDict:
    """Returns the configuration in a run's config.json; see from_saved."""
    return from_saved(storage.read_json(path), path)


def _other_shape(values: object, known: dict, prefix: str) -> str | None:
    """Returns the first field that is a group in one of the two only, or None."""
    if not isinstance(values, dict):
        return f"{prefix.rstrip('.') or 'it'} is no object"
    for key, value in values.items():
        if key not in known:
            return f"unknown field {prefix}{key[:100]}"
        if isinstance(known[key], dict):
            wrong = _other_shape(value, known[key], f"{prefix}{key}.")
            if wrong:
                return wrong
        elif isinstance(value, dict):
            return f"{prefix}{key} is an object"
    return None


def _merged(defaults: dict, given: dict) -> dict:
    merged = defaults | given
    for key, value in defaults.items():
        if isinstance(value, dict) and isinstance(given.get(key), dict):
            merged[key] = _merged(value, given[key])
    return merged


def to_json(config) -> str:
    """Returns the configuration as JSON text; tuples become lists."""
    return json.dumps(config.to_dict(), indent=2, sort_keys=True)


def from_dict(values: dict) -> ml_collections.ConfigDict:
    """Returns the locked configuration of nested fields, as `to_json` wrote them."""
    return ml_collections.ConfigDict(values).lock()


def flatten(config) -> dict:
    """Returns {dotted field name: value}, in the order of the names."""
    return dict(_flatten(json.loads(to_json(config)), ""))


def _flatten(node: dict, prefix: str) -> Iterator[tuple[str, object]]:
    for key, value in sorted(node.items()):
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def differences(config) -> list[str]:
    """Lists the fields of a resolved configuration that differ from the defaults.

    Returns:
        Lines 'field = value (default: value)', in the order of the names. The defaults
        are resolved too, so that a field left open is not listed.
    """
    default = flatten(resolve(defaults.get_config()))
    return [
        f"{field} = {value!r} (default: {default.get(field)!r})"
        for field, value in flatten(config).items()
        if value != default.get(field)
    ]


def first_difference(old, new) -> str | None:
    """Returns the first difference that prevents resuming a run, or None.

    Fields of FREE_FIELDS may differ, and fields that neither run reads. Fields that
    decide others come first: a changed model is reported, not one of its widths.
    """
    old, new = flatten(old), flatten(new)
    fields = sorted(old.keys() | new.keys(), key=lambda x: (x not in _DECISIVE, x))
    unread = table.unread_fields(old) & table.unread_fields(new)
    for field in fields:
        if field in unread:
            continue
        if not field.startswith(FREE_FIELDS) and old.get(field) != new.get(field):
            if field in ("train.epochs", "train.total_steps"):
                return _other_length(old, new)
            return f"{field} was {old.get(field)!r} and is now {new.get(field)!r}"
    return None


def _other_length(old: dict, new: dict) -> str:
    """Says what changed the length of a run: the flags, or the number of images."""
    (epochs, now_epochs), (steps, now_steps) = (
        (old[field], new[field]) for field in ("train.epochs", "train.total_steps")
    )
    if epochs != now_epochs and steps != now_steps:
        return f"train.epochs was {epochs} and is now {now_epochs}"
    then, now = (round(x["train.total_steps"] / x["train.epochs"]) for x in (old, new))
    return (
        f"{steps} steps were {epochs:g} epochs of {then} batches, and {now_steps} are"
        f" now {now_epochs:g} epochs of {now}: training images were added or removed"
    )
