"""From an open configuration to a checked, frozen one."""

from typing import Any, NamedTuple

import ml_collections

from encnet_jax.config import checks, pretrained
from encnet_jax.config.architectures import FOLLOWING, decided_fields
from encnet_jax.config.forms import flat_values, frozen, get, opened, replaced
from encnet_jax.config.table import Config
from encnet_jax.errors import UserError
from encnet_jax.models.upsampling import check_upsampling

_SCORING = 0.1  # Largest fraction of the training's work that scoring takes.
_BACKWARD = 3  # Work of a training step, relative to a forward pass.


class Facts(NamedTuple):
    """The facts about the data on which a configuration depends.

    Attributes:
        num_examples: number of training images.
        class_weights: f[C], counted by the rule loss.class_weighting; empty if there is
            no rule.
        scored_pixels: that the network processes to score the validation split once.
    """

    num_examples: int
    class_weights: tuple[float, ...] = ()
    scored_pixels: float = 0.0


def resolve(
    config: ml_collections.ConfigDict | Config, facts: Facts | int | None = None
) -> Config:
    """Sets the fields that weights and architecture decide, checks, and freezes.

    Args:
        config: as returned by `load`, with overrides applied.
        facts: of the data, or only the number of training images. They determine
            train.total_steps if it is 0, train.epochs otherwise,
            train.eval_every_steps, and the class weights of a rule. Without facts these
            keep their values.

    Returns:
        A frozen copy, in which every field has its value; train.eval_every_epochs
        stays None if it is not set.

    Raises:
        UserError: a value is not allowed, or the data set is smaller than a batch.
    """
    config = opened(config) if isinstance(config, Config) else config
    config = ml_collections.ConfigDict(config).copy_and_resolve_references()
    checks.check_each(flat_values(config))
    pretrained.follow(config)
    fill(config)
    values = flat_values(config)
    checks.check_each(values)
    checks.check_together(values)
    if config.task == "segmentation":
        sides = ("data.crop_size", "eval.crop_size", "eval.bucket")
        check_upsampling(config.model, {side: get(config, side) for side in sides})
    resolved = frozen(config.to_dict())
    if facts is None:
        return resolved
    facts = Facts(facts) if isinstance(facts, int) else facts
    return replaced(resolved, _derived(resolved, facts))


def fill(config: ml_collections.ConfigDict) -> None:
    """Sets the fields that are not set (None), from the architecture and each other."""
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
    frozen = {"backbone": ("backbone",), "coarse": ("backbone", "head")}
    patterns = (*config.optim.frozen, *frozen.get(config.train.freeze, ()))
    config.optim.frozen = tuple(dict.fromkeys(patterns))


def _derived(config: Config, facts: Facts) -> dict[str, Any]:
    """Returns the values that depend on the data, by dotted name."""
    train = config.train
    steps = steps_per_epoch(
        facts.num_examples, train.batch_size, config.data.keep_last_batch
    )
    epochs = train.eval_every_epochs
    if epochs is None:
        trained = facts.num_examples * config.data.crop_size**2
        # Counts only: all processes and all starts of a run agree.
        epochs = max(1.0, facts.scored_pixels / _BACKWARD / trained / _SCORING)
    found: dict[str, Any] = {"train.eval_every_steps": round(epochs * steps)}
    total_steps = max(1, round(train.epochs * steps))
    if train.total_steps == 0:
        checks.check_total_steps(train.epochs * steps, train.epochs)
        found["train.total_steps"] = total_steps
    elif train.total_steps != total_steps:
        found["train.epochs"] = train.total_steps / steps
    if config.loss.class_weighting and not config.loss.class_weights:
        found["loss.class_weights"] = facts.class_weights
    return found


def steps_per_epoch(num_examples: int, batch_size: int, keep_last: bool) -> int:
    """Returns the number of training steps per epoch, at least 1.

    Args:
        num_examples: training images.
        batch_size: images per step, over all devices.
        keep_last: whether an epoch ends with a smaller batch; otherwise the remaining
            images are dropped.

    Raises:
        UserError: the images do not fill a batch.
    """
    if not 1 <= batch_size <= num_examples:
        raise UserError(
            f"{num_examples} training images do not fill one batch of {batch_size}:"
            f" set train.batch_size between 1 and {num_examples}"
        )
    return -(-num_examples // batch_size) if keep_last else num_examples // batch_size
