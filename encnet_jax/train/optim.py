"""Learning-rate schedules and the optimiser, from optax."""

import jax
import optax


def learning_rate(optim, *, total_steps: int, batch_size: int) -> optax.Schedule:
    """Returns the backbone's learning rate as a function of the step.

    Args:
        optim: `config.optim`.
        total_steps: the schedule ends here.
        batch_size: images in a step over all devices.

    Source: section 3.1 of the paper: base_lr * (1 - step / total_steps) ** 0.9.
    """
    base = optim.base_lr * (batch_size / 16 if optim.scale_lr_by_batch else 1.0)
    if optim.schedule == "cosine":
        schedule = _cosine(base, total_steps, optim.cosine_ahead * total_steps)
    elif optim.schedule == "halving":
        parts = optim.halving_parts
        schedule = optax.piecewise_constant_schedule(
            base, {round(i * total_steps / parts): 0.5 for i in range(1, parts)}
        )
    else:
        schedule = optax.polynomial_schedule(base, 0.0, optim.poly_power, total_steps)
    if not optim.warmup_steps:
        return schedule
    # The poly curve keeps its own clock, so warm-up does not lengthen the run.
    ramp = optax.linear_schedule(0.0, 1.0, optim.warmup_steps)
    return lambda step: ramp(step) * schedule(step)


def _cosine(base: float, total_steps: int, ahead: float) -> optax.Schedule:
    """Returns a cosine to 0 whose clock is ahead of the steps.

    Source: main.py of the authors' CIFAR-10 code counts epochs from 1: its first epoch
    has the rates of the second, and in its last the rate rises from 0.
    """
    schedule = optax.cosine_decay_schedule(base, total_steps)
    if not ahead:
        return schedule
    # Optax holds the end, and a cosine is even about it.
    return lambda step: schedule(total_steps - abs(total_steps - ahead - step))


def optimizer(optim, params, *, total_steps: int, batch_size: int):
    """Returns SGD with momentum and coupled weight decay, as PyTorch's.

    Args:
        optim: `config.optim`.
        params: the parameters, or their shapes; only names are read.
        total_steps, batch_size: see `learning_rate`.

    Returns:
        An optax.GradientTransformation.
    """
    schedule = learning_rate(optim, total_steps=total_steps, batch_size=batch_size)
    decayed = jax.tree_util.tree_map_with_path(
        lambda path, _: is_decayed(path, optim), params
    )
    # A network without a backbone has one learning rate.
    in_head = jax.tree_util.tree_map_with_path(
        lambda path, _: "backbone" in params and is_head(path), params
    )
    clip = [optax.clip(optim.clip_element)] if optim.clip_element else []
    return optax.chain(
        *clip,
        optax.add_decayed_weights(optim.weight_decay, mask=decayed),
        optax.trace(decay=optim.momentum),
        optax.masked(optax.scale(optim.head_lr_multiplier), in_head),
        optax.scale_by_learning_rate(schedule),
    )


def is_head(path) -> bool:
    """Tells whether a parameter's path lies outside the backbone."""
    return path[0].key != "backbone"


def is_decayed(path, optim) -> bool:
    """Tells whether weight decay draws on a parameter, by its name.

    Args:
        path: 'scale' ends that of a norm's scale; 'bias' those of all biases.
        optim: `config.optim`.
    """
    name = path[-1].key
    if name == "bias" and not optim.decay_bias:
        return False
    return optim.decay_norm_and_bias or name not in ("scale", "bias")
