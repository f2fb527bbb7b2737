"""The training step: computes gradients on all devices, and updates the parameters."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from encnet_jax.models.encoding import smoothing_statistics
from encnet_jax.pods import parallel
from encnet_jax.train_state import TrainState


def train_step(
    state: TrainState,
    batch: dict,
    *,
    model: nn.Module,
    tx: optax.GradientTransformation,
    normalise: Callable,
    loss_fn: Callable,
    seed: int,
    accumulate: int = 1,
    norm_group: int = 0,
    ema_decay: float = 0.0,
    axis_name: str | None = None,
) -> tuple[TrainState, dict]:
    """Updates the state with one batch.

    Args:
        state: see TrainState.
        batch: images and labels of this device: {'image': uint8[b, H, W, 3], 'label':
            uint8[b, H, W] for segmentation, integer[b] for classification}.
        model: network whose batch norms are synchronised over `axis_name`.
        tx: optimiser.
        normalise: maps images, uint8[..., 3], to the model's input, f32[..., 3].
        loss_fn: maps (outputs, batch, axis_name) to (loss, {name: loss term}) of this
            device; the sums over all devices are the loss and terms of the whole batch.
        seed: seed of the run's random streams; see random_keys.
        accumulate: number of micro-batches into which the batch is split to save
            memory; gradients are averaged over the micro-batches.
        norm_group: number of devices that share batch statistics; 0 for all.
        ema_decay: decay of the moving average of the weights; not used if the state has
            no moving average.
        axis_name: pmap axis, or None outside pmap.

    Returns:
        (next state, metrics), equal on all devices. The metrics are f32[] by name:
        'loss', the loss terms, 'grad_norm', and, if the model learns smoothing factors,
        'smoothing_mean' and 'smoothing_std'.
    """
    keys = random_keys(seed, state.step, axis_name)
    loss_of = partial(
        _loss, model=model, normalise=normalise, loss_fn=loss_fn, axis_name=axis_name
    )
    grads, batch_stats, metrics = _accumulate(
        jax.value_and_grad(loss_of, has_aux=True), state, batch, keys, accumulate
    )
    if axis_name is not None:
        grads, metrics, batch_stats = _combine(
            grads, metrics, batch_stats, axis_name, norm_group
        )
    metrics["grad_norm"] = optax.tree.norm(grads)
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    metrics |= smoothing_statistics(params)
    ema_params = state.ema_params
    if ema_params is not None:
        decay = _ramped(ema_decay, state.step)
        ema_params = optax.incremental_update(params, ema_params, 1 - decay)
    next_state = TrainState(state.step + 1, params, batch_stats, opt_state, ema_params)
    return next_state, metrics


def _ramped(decay: float, step: jax.Array) -> jax.Array:
    """Returns the decay of the weights' moving average after `step` updates.

    As in TensorFlow, the result increases with `step`, up to the value `decay`. With a
    constant decay, the average of a short run would consist mainly of the initial
    weights.
    """
    return jnp.minimum(decay, (1 + step) / (10 + step))


def _combine(grads, metrics, batch_stats, axis_name, norm_group):
    """Sums gradients and metrics over devices, and averages running statistics.

    Running statistics differ between groups of `norm_group` devices. The average over
    the groups does not include the variance between groups, because training normalises
    each group with the variance of that group.
    """
    size = jax.lax.axis_size(axis_name)
    if norm_group in (0, size):
        return *parallel.sum_in_buckets((grads, metrics), axis_name), batch_stats
    shares = jax.tree.map(lambda x: x / size, batch_stats)
    return parallel.sum_in_buckets((grads, metrics, shares), axis_name)


def random_keys(seed: int, step: jax.Array, axis_name: str | None) -> dict:
    """Returns the random keys of a step, {'dropout': key, 'smoothing': key}.

    Both keys depend on seed and step; the dropout key also depends on the device. A
    resumed run therefore gets the same random values.

    Args:
        seed: the run's seed.
        step: int32[], number of updates done.
        axis_name: pmap axis, or None.
    """
    key = jax.random.fold_in(jax.random.key(seed), step)
    dropout, smoothing = jax.random.split(key)
    if axis_name is not None:
        dropout = jax.random.fold_in(dropout, jax.lax.axis_index(axis_name))
    return {"dropout": dropout, "smoothing": smoothing}


def _loss(
    params, batch_stats, batch, keys, *, model, normalise, loss_fn, axis_name
) -> tuple[jax.Array, tuple]:
    """Returns (loss of this device, (new batch_stats, metrics)); see train_step."""
    outputs, updates = model.apply(
        {"params": params, "batch_stats": batch_stats},
        normalise(batch["image"]),
        train=True,
        mutable=["batch_stats"],
        rngs=keys,
    )
    loss, terms = loss_fn(outputs, batch, axis_name)
    return loss, (updates["batch_stats"], {"loss": loss, **terms})


def _accumulate(differentiate, state, batch, keys, parts):
    """Returns (gradients, batch_stats, metrics) of a batch split into micro-batches.

    Gradients and metrics are averaged over the micro-batches, while batch_stats are
    updated by one micro-batch after the other.
    """

    def gradients_of(batch_stats, part, part_keys):
        (_, (batch_stats, metrics)), grads = differentiate(
            state.params, batch_stats, part, part_keys
        )
        return batch_stats, (grads, metrics)

    if parts == 1:
        batch_stats, (grads, metrics) = gradients_of(state.batch_stats, batch, keys)
        return grads, batch_stats, metrics
    split = jax.tree.map(lambda x: x.reshape(parts, -1, *x.shape[1:]), batch)

    def add(carry, inputs):
        batch_stats, total = carry
        index, part = inputs
        part_keys = {k: jax.random.fold_in(v, index) for k, v in keys.items()}
        batch_stats, share = gradients_of(batch_stats, part, part_keys)
        return (
            batch_stats,
            jax.tree.map(lambda t, s: t + s / parts, total, share),
        ), None

    first = jax.tree.map(lambda x: x[0], split)
    _, shapes = jax.eval_shape(gradients_of, state.batch_stats, first, keys)
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    (batch_stats, (grads, metrics)), _ = jax.lax.scan(
        add, (state.batch_stats, zeros), (jnp.arange(parts), split)
    )
    return grads, batch_stats, metrics


def single_step(step: Callable) -> jax.stages.Wrapped:
    """Compiles a training step for one device, without collectives.

    Args:
        step: train_step with all arguments bound except state, batch and axis_name. The
            model must be built with axis_name=None.
    """
    return jax.jit(partial(step, axis_name=None))


def parallel_step(step: Callable, devices: list | None = None) -> Any:
    """Compiles a training step that runs on several devices.

    The compiled step expects a replicated state, and a batch of arrays [devices, ...].
    The next state reuses the memory of the old state.

    Args:
        step: train_step with all arguments bound except state, batch and axis_name.
        devices: devices to use; None for all.
    """
    return parallel.mapped(
        partial(step, axis_name=parallel.AXIS),
        (parallel.SHARED, parallel.ROWS),
        axis_name=parallel.AXIS,
        donate=(0,),
        devices=devices,
    )
