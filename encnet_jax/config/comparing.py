"""Compares configurations with the defaults and with a saved run's configuration."""

import ml_collections

from encnet_jax.config import defaults, table
from encnet_jax.config.forms import flatten, replaced
from encnet_jax.config.resolving import resolve
from encnet_jax.config.table import Config
from encnet_jax.errors import UserError

_DECISIVE = ("architecture", "data.name", "model.backbone", "model.name", "task")
# Fields that may change when a run resumes: they do not affect the updates of the
# weights, except for rounding.
FREE_FIELDS = (
    "eval.",
    "data.data_dir",
    "data.folder.colours",
    "data.folder.images",  # But their number must stay: it determines the steps.
    "data.folder.masks",
    "data.max_unreadable_share",
    "data.max_file_mib",
    "data.max_megapixels",
    "data.on_device",
    "init_from",
    "init_skip",
    "loss.row_blocks",  # Changes memory and the order of a sum.
    "model.mask_padding",  # Training crops have no padding around them,
    "model.reference_positions",  # and this number of positions.
    "profile",
    "train.log_every_steps",
    "train.max_minutes",
    "train.eval_every_epochs",
    "train.checkpoint_every_minutes",
    "train.checkpoint_every_steps",
    "train.keep_checkpoints",
    "train.num_pictures",
    "train.patience",
    "train.val_protocol",
)


def differences(config: Config) -> list[str]:
    """Lists the fields whose values differ from the default configuration.

    Returns:
        Lines 'FIELD = VALUE (default: DEFAULT)', sorted by FIELD.
    """
    default = flatten(resolve(defaults.get_config()))
    return [
        f"{field} = {value!r} (default: {_shown(default.get(field))})"
        for field, value in flatten(config).items()
        if value != default.get(field)
    ]


def _shown(value: object) -> str:
    return "computed" if value is None else repr(value)


def first_difference(
    old: Config | ml_collections.ConfigDict, new: Config | ml_collections.ConfigDict
) -> str | None:
    """Describes the first difference that prevents resuming a run.

    Ignores FREE_FIELDS, which do not affect the updates of the weights, and fields that
    no selected head, loss etc. reads. Compares fields such as model.name first, because
    other fields depend on them.

    Args:
        old: configuration of the saved run.
        new: configuration with which the run is to be resumed.

    Returns:
        A message with the old and the new value; None if the run can be resumed.
    """
    before, now = flatten(old), flatten(new)
    unread = table.unread_fields(before) & table.unread_fields(now)
    for field in sorted(
        before.keys() | now.keys(), key=lambda x: (x not in _DECISIVE, x)
    ):
        if field in unread or field.startswith(FREE_FIELDS):
            continue
        if before.get(field) != now.get(field):
            if field in ("train.epochs", "train.total_steps"):
                return _other_length(before, now)
            return f"{field} was {before.get(field)!r} and is now {now.get(field)!r}"
    return None


def lengthened(config: Config, steps: int) -> Config:
    """Returns a copy of a resolved configuration with `steps` more training steps.

    The learning rate then follows the schedule for the new total number of steps.

    Raises:
        UserError: the new number of steps does not fit in an int32.
    """
    train = config.train
    total = train.total_steps + steps
    if total >= 2**31:
        raise UserError(
            f"--extend {steps} would lengthen the run to {total} steps; expected at"
            f" most {2**31 - 1}"
        )
    epochs = train.epochs * total / train.total_steps
    return replaced(config, {"train.total_steps": total, "train.epochs": epochs})


def _how_to_extend(steps: int, now_steps: int) -> str:
    if now_steps > steps:
        return f"keep the old value and add --extend {now_steps - steps}"
    return f"if the run was extended, add --extend {steps - now_steps}"


def _other_length(old: dict, new: dict) -> str:
    """Returns a message that explains why the number of training steps changed.

    The cause is either a changed field or a changed number of training images.
    """
    (epochs, now_epochs), (steps, now_steps) = (
        (old[field], new[field]) for field in ("train.epochs", "train.total_steps")
    )
    if epochs != now_epochs and steps != now_steps:
        return (
            f"the run has {steps} steps ({epochs:g} epochs), and would now have"
            f" {now_steps} ({now_epochs:g} epochs): train.total_steps or train.epochs"
            " changed, which changes the learning rate of every step;"
            f" {_how_to_extend(steps, now_steps)}"
        )
    then, now = (round(x["train.total_steps"] / x["train.epochs"]) for x in (old, new))
    return (
        f"an epoch had {then} batches ({epochs:g} epochs: {steps} steps) and now has"
        f" {now} ({now_epochs:g} epochs: {now_steps} steps), because training images"
        " were added or removed"
    )
