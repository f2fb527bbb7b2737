"""Resolves configurations: sets missing fields, checks all fields, returns a copy."""

from typing import Any, NamedTuple

import ml_collections

from encnet_jax.config import checks, pretrained
from encnet_jax.config.architectures import FOLLOWING, decided_fields
from encnet_jax.config.forms import flat_values, frozen, get, opened, replaced
from encnet_jax.config.table import Config
from encnet_jax.errors import UserError
from encnet_jax.models.upsampling import check_upsampling

_SCORING = 0.1  # Largest time for scoring, as a fraction of the training time.
_BACKWARD = 3  # Time of a training step, relative to that of a forward pass.


class Facts(NamedTuple):
    """Properties of the data set that determine some fields of a configuration.

    Attributes:
        num_examples: number of training images.
        class_weights: one weight per class, computed by the rule in
            loss.class_weighting; empty if loss.class_weighting is ''.
        scored_pixels: number of pixels that the network processes to score the
            validation split once.
    """

    num_examples: int
    class_weights: tuple[float, ...] = ()
    scored_pixels: float = 0.0


def resolve(
    config: ml_collections.ConfigDict | Config, facts: Facts | None = None
) -> Config:
    """Sets fields that are None, checks all fields, and returns an immutable copy.

    Args:
        config: result of `load`, with command-line overrides applied.
        facts: properties of the data set, which determine the number of steps, the
            evaluation interval and the class weights. If `facts` is None, these fields
            are not changed.

    Returns:
        A frozen dataclass. Only train.eval_every_epochs may be None.

    Raises:
        UserError: a value is not allowed, values are incompatible, or the data set is
            smaller than a batch.
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
    return replaced(resolved, _derived(resolved, facts))


def fill(config: ml_collections.ConfigDict) -> None:
    """Sets fields that are None, in place, from the architecture and other fields.

    Also adds the modules that train.freeze selects to optim.frozen.
    """
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
    """Returns the fields that depend on the data set: {dotted field name: value}."""
    train = config.train
    steps = steps_per_epoch(
        facts.num_examples, train.batch_size, config.data.keep_last_batch
    )
    epochs = train.eval_every_epochs
    if epochs is None:
        trained = facts.num_examples * config.data.crop_size**2
        # Computed from counts only, so that all processes and restarts agree.
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
        num_examples: number of training images.
        batch_size: number of images per step, over all devices.
        keep_last: whether to train with the last batch if it is smaller than
            `batch_size`; if False, the images of this batch are dropped.

    Raises:
        UserError: the batch size is less than 1 or larger than the number of images.
    """
    if not 1 <= batch_size <= num_examples:
        raise UserError(
            f"train.batch_size is {batch_size}; expected 1 to {num_examples}, the"
            " number of training images"
        )
    return -(-num_examples // batch_size) if keep_last else num_examples // batch_size
