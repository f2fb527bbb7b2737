"""Model, optimiser and first state of a configuration, put together in one place."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from encnet_jax import tasks
from encnet_jax.pods import parallel
from encnet_jax.train import optim
from encnet_jax.train_state import TrainState


class Assembled(NamedTuple):
    """What a training step is made of.

    Attributes:
        task: of the configuration.
        model: batch norms share the pmap axis.
        tx: the optimiser.
        learning_rate: (step int32[], updates done) -> f32[], before the multipliers.
        state: a TrainState before the first update; shapes where nothing was computed.
    """

    task: tasks.Task
    model: nn.Module
    tx: optax.GradientTransformation
    learning_rate: optax.Schedule
    state: Any


def assemble(
    config,
    num_classes: int,
    *,
    axis_name: str | None = parallel.AXIS,
    start: Callable[[dict], dict] | None = None,
    only_shapes: bool = False,
) -> Assembled:
    """Builds a run's model, optimiser and state.

    Args:
        config: resolved; train.total_steps is known.
        num_classes: C.
        axis_name: pmap axis of the batch norms; None for one device.
        start: fresh {'params', 'batch_stats'} -> those to start from.
        only_shapes: compute nothing; arrays are jax.ShapeDtypeStruct.
    """
    task = tasks.of(config)
    model = task.build_model(config, num_classes, axis_name)
    evaluated = jax.eval_shape if only_shapes else _call
    variables = evaluated(lambda: init_variables(model, config))
    if start is not None:
        variables = start(variables)
    length = {
        "total_steps": config.train.total_steps,
        "batch_size": config.train.batch_size,
    }
    tx = optim.optimizer(config.optim, variables["params"], **length)
    ema = config.optim.ema_decay > 0
    state = evaluated(lambda v: TrainState.create(v, tx, ema), variables)
    rate = optim.learning_rate(config.optim, **length)
    return Assembled(task, model, tx, rate, state)


def init_variables(model: nn.Module, config) -> dict:
    """Returns {'params', 'batch_stats'}, a function of the model and config.seed."""
    images = jnp.zeros((1, config.data.crop_size, config.data.crop_size, 3))
    init = jax.jit(lambda key: model.init(key, images, train=False))
    return init(jax.random.key(config.seed))


def _call(function, *arguments):
    return function(*arguments)
