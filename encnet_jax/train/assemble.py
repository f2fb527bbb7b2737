"""Builds the model, optimiser, training step and initial state of a configuration."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from encnet_jax import tasks
from encnet_jax.config import Config
from encnet_jax.pods import parallel
from encnet_jax.train import optim
from encnet_jax.train.step import train_step
from encnet_jax.train_state import TrainState


class Assembled(NamedTuple):
    """Model, optimiser, training step and initial state of a run.

    Attributes:
        task: the task, segmentation or classification; see tasks.Task.
        model: the network; its batch norms are synchronised over the pmap axis.
        tx: the optimiser.
        learning_rate: schedule that maps the number of completed updates, int32[], to
            the learning rate, f32[], without factors such as optim.head_lr_multiplier.
        step: uncompiled function (state, batch, axis_name=None) -> (next state,
            metrics); train.step.parallel_step compiles the function.
        state: TrainState before the first update. The leaves are arrays, or
            jax.ShapeDtypeStruct if `assemble` was called with only_shapes=True.
    """

    task: tasks.Task
    model: nn.Module
    tx: optax.GradientTransformation
    learning_rate: optax.Schedule
    step: Callable
    state: Any

    def num_parameters(self) -> int:
        """Returns the number of model parameters, including frozen parameters."""
        return sum(math.prod(x.shape) for x in jax.tree.leaves(self.state.params))


def assemble(
    config: Config,
    num_classes: int,
    *,
    axis_name: str | None = parallel.AXIS,
    start: Callable[[dict], dict] | None = None,
    only_shapes: bool = False,
) -> Assembled:
    """Builds a run's model, optimiser, training step and initial state.

    Args:
        config: resolved configuration, in which train.total_steps is set.
        num_classes: number of classes.
        axis_name: pmap axis over which batch norms are synchronised; None if training
            uses one device without pmap.
        start: function that maps the randomly initialised {'params', 'batch_stats'} to
            the variables from which training starts; None keeps the random values.
        only_shapes: whether the returned state contains jax.ShapeDtypeStruct instead of
            arrays; if True, nothing is computed on the device.
    """
    task = tasks.of(config)
    model = task.build_model(num_classes, axis_name)
    evaluated = jax.eval_shape if only_shapes else _call
    variables = evaluated(
        lambda: init_variables(model, config.seed, config.data.crop_size)
    )
    if start is not None:
        variables = start(variables)
    tx, learning_rate = optim.optimizer(
        config.optim,
        variables["params"],
        total_steps=config.train.total_steps,
        batch_size=config.train.batch_size,
    )
    ema = config.optim.ema_decay > 0
    state = evaluated(lambda v: TrainState.create(v, tx, ema), variables)
    step = partial(
        train_step,
        model=model,
        tx=tx,
        normalise=task.normalise,
        loss_fn=task.loss_fn,
        seed=config.seed,
        accumulate=config.train.accumulate,
        norm_group=config.model.norm_group,
        ema_decay=config.optim.ema_decay,
    )
    return Assembled(task, model, tx, learning_rate, step, state)


def init_variables(model: nn.Module, seed: int, crop_px: int) -> dict:
    """Returns randomly initialised variables {'params', 'batch_stats'} of a model.

    The values depend only on the model and the seed.

    Args:
        model: the model to initialise.
        seed: the run's seed.
        crop_px: height and width, in pixels, of the blank image with which the model is
            initialised; the values do not depend on this size.
    """
    images = jnp.zeros((1, crop_px, crop_px, 3))
    init = jax.jit(lambda key: model.init(key, images, train=False))
    return init(jax.random.key(seed))


def _call(function, *arguments):
    return function(*arguments)
