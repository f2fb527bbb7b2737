"""The optimiser and its learning-rate schedule."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from encnet_jax.config import OptimConfig
from encnet_jax.errors import UserError
from encnet_jax.train import paths


def learning_rate(
    optim: OptimConfig, *, total_steps: int, batch_size: int
) -> optax.Schedule:
    """Returns the schedule of the backbone's learning rate.

    Args:
        optim: `config.optim`.
        total_steps: step at which the schedule ends.
        batch_size: number of images per step, over all devices.

    Source: section 3.1 of the paper, for the schedule 'poly':
    base_lr * (1 - step / total_steps) ** 0.9
    """
    base = optim.base_lr
    if optim.scale_lr_by_batch:
        base *= batch_size / optim.lr_batch_size
    if optim.schedule == "cosine":
        schedule = _cosine(base, total_steps, optim.cosine_ahead * total_steps)
    elif optim.schedule == "halving":
        parts = optim.halving_parts
        schedule = optax.piecewise_constant_schedule(
            base, {round(i * total_steps / parts): 0.5 for i in range(1, parts)}
        )
    else:
        schedule = optax.polynomial_schedule(base, 0.0, optim.poly_power, total_steps)
    if optim.warmup_steps:
        schedule = _warmed_up(schedule, optim.warmup_steps)
    # Optax divides the step by a length, which would promote an integer step.
    return lambda step: schedule(jnp.asarray(step, float))


def _warmed_up(schedule: optax.Schedule, steps: int) -> optax.Schedule:
    """Multiplies a schedule by a linear ramp from 0 to 1 in the first `steps` steps."""
    ramp = optax.linear_schedule(0.0, 1.0, steps)
    return lambda step: ramp(step) * schedule(step)


def _cosine(base: float, total_steps: int, ahead: float) -> optax.Schedule:
    """Returns a cosine decay that is evaluated at step + `ahead` instead of at step.

    So the learning rate is 0 before the last step, and then rises again.

    Source: main.py of the authors' CIFAR-10 code, which counts epochs from 1: the first
    epoch uses the rates of the second, and in the last epoch the rate rises from 0.
    """
    schedule = optax.cosine_decay_schedule(base, total_steps)
    if not ahead:
        return schedule
    # Steps after the end are mirrored, because optax's schedule is constant there.
    return lambda step: schedule(total_steps - abs(total_steps - ahead - step))


def optimizer(
    optim: OptimConfig, params, *, total_steps: int, batch_size: int
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """Builds the optimiser and its learning-rate schedule.

    Gradients are clipped first by element, then by their global norm. Optimiser 'sgd'
    uses momentum and adds the weight decay to the gradient, as PyTorch does; 'adamw'
    uses decoupled weight decay. Learning-rate factors for the same parameter are
    multiplied. Frozen parameters have no optimiser state, and their gradients do not
    count in the global norm.

    Args:
        optim: `config.optim`.
        params: tree of parameters or shapes, of which only the names are used.
        total_steps, batch_size: see `learning_rate`.

    Returns:
        (optimiser, schedule returned by `learning_rate`).

    Raises:
        UserError: a pattern of optim.frozen, optim.lr_multipliers or optim.undecayed
            matches no parameter, or all parameters are frozen.
    """
    schedule = learning_rate(optim, total_steps=total_steps, batch_size=batch_size)
    for pattern in optim.undecayed:
        paths.matching(params, pattern, "optim.undecayed")
    clips = [optax.clip(optim.clip_element)] if optim.clip_element else []
    if optim.clip_norm:
        clips.append(optax.clip_by_global_norm(optim.clip_norm))
    tx = optax.chain(
        *clips,
        *_directions(optim),
        optax.masked(optax.scale(optim.head_lr_multiplier), _in_head(params)),
        *_multipliers(optim, params),
        optax.scale_by_learning_rate(schedule),
    )
    if not optim.frozen:
        return tx, schedule
    masks = [paths.matching(params, p, "optim.frozen") for p in optim.frozen]
    labels = jax.tree.map(lambda *m: "frozen" if any(m) else "trained", *masks)
    if "trained" not in jax.tree.leaves(labels):
        raise UserError(
            f"optim.frozen is {tuple(optim.frozen)}, which freezes all parameters:"
            " remove a pattern, so that some parameters are trained"
        )
    transforms = {"trained": tx, "frozen": optax.set_to_zero()}
    return optax.multi_transform(transforms, labels), schedule


def _directions(optim: OptimConfig) -> list[optax.GradientTransformation]:
    """Returns weight decay, and momentum or Adam, as gradient transformations."""

    def decayed(params):
        return jax.tree_util.tree_map_with_path(
            lambda path, _: is_decayed(path, optim), params
        )

    # A function, because multi_transform calls it without the frozen parameters.
    decay = optax.add_decayed_weights(optim.weight_decay, mask=decayed)
    if optim.name == "adamw":
        return [optax.scale_by_adam(b1=optim.momentum, b2=optim.adam_beta2), decay]
    return [decay, optax.trace(decay=optim.momentum)]


def _in_head(params) -> Callable:
    """Returns a function that maps a tree of parameters to a tree of bools.

    The bools are True for parameters outside the backbone. If the network has no
    backbone, all bools are False.
    """
    # A network without a backbone has one learning rate.
    there = "backbone" in params
    return lambda tree: jax.tree_util.tree_map_with_path(
        lambda path, _: there and is_head(path), tree
    )


def _multipliers(optim: OptimConfig, params) -> list[optax.GradientTransformation]:
    """Returns one gradient transformation for each entry of optim.lr_multipliers."""
    found = []
    for entry in optim.lr_multipliers:
        pattern, factor = split_multiplier(entry)
        paths.matching(params, pattern, "optim.lr_multipliers")

        def mask(tree, pattern=pattern):
            return jax.tree_util.tree_map_with_path(
                lambda path, _: paths.matches(path, pattern), tree
            )

        found.append(optax.masked(optax.scale(factor), mask))
    return found


def split_multiplier(entry: str) -> tuple[str, float]:
    """Splits an entry such as 'backbone/stem=0.1' into pattern and factor.

    Raises:
        UserError: the entry is not PATTERN=FACTOR, or the factor is negative.
    """
    pattern, _, factor = str(entry).rpartition("=")
    try:
        if pattern and float(factor) >= 0:
            return pattern, float(factor)
    except ValueError:
        pass
    raise UserError(
        f"optim.lr_multipliers contains {entry!r}; expected PATTERN=FACTOR with a"
        " factor of at least 0, such as 'backbone/stem=0.1'"
    )


def is_head(path) -> bool:
    """Returns whether the parameter with a given path is outside the backbone."""
    return path[0].key != "backbone"


def is_decayed(path, optim: OptimConfig) -> bool:
    """Returns whether weight decay applies to the parameter with a given path.

    Args:
        path: path of the parameter, whose last key is 'scale' for the scale of a norm,
            and 'bias' for a bias.
        optim: `config.optim`.
    """
    if any(paths.matches(path, pattern) for pattern in optim.undecayed):
        return False
    name = path[-1].key
    if name == "bias" and not optim.decay_bias:
        return False
    return optim.decay_norm_and_bias or name not in ("scale", "bias")
