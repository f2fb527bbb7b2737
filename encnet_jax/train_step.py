"""The training step: gradients over all devices, one update, metrics."""

from functools import partial

import jax
import jax.numpy as jnp
import optax

from encnet_jax import parallel, tasks
from encnet_jax.preprocess import normalise
from encnet_jax.train_state import TrainState


def train_step(
    state: TrainState, batch: dict, *, model, tx, config, axis_name: str | None
) -> tuple[TrainState, dict]:
    """Updates the state by one batch.

    Args:
        state: see TrainState.
        batch: this device's 'image' uint8[b, H, W, 3] and 'label' uint8[b, H, W].
        model: network whose batch norms share `axis_name`.
        tx: optimiser.
        config: resolved configuration.
        axis_name: pmap axis, or None outside pmap.

    Returns:
        (next state, {'loss', 'loss_pixel', ..., 'grad_norm': f32[]}), equal on all devices.
    """
    # A function of seed and step alone: a resumed run drops the same units.
    key = jax.random.fold_in(jax.random.key(config.seed), state.step)
    if axis_name is not None:
        key = jax.random.fold_in(key, jax.lax.axis_index(axis_name))
    loss_fn = partial(_loss, model=model, config=config, axis_name=axis_name)
    grads, batch_stats, metrics = _accumulate(
        jax.value_and_grad(loss_fn, has_aux=True), state, batch, key, config.train.accumulate
    )
    if axis_name is not None:
        names = sorted(metrics)
        stacked = jnp.stack([metrics[name] for name in names])
        grads, stacked = jax.lax.psum((grads, stacked), axis_name)
        metrics = dict(zip(names, stacked, strict=True))
    metrics["grad_norm"] = optax.tree.norm(grads)
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    ema_params = state.ema_params
    if ema_params is not None:
        rate = 1 - config.optim.ema_decay
        ema_params = optax.incremental_update(params, ema_params, rate)
    return (
        TrainState(state.step + 1, params, batch_stats, opt_state, ema_params),
        metrics,
    )


def _loss(params, batch_stats, batch, key, *, model, config, axis_name):
    """Returns (this device's share of the loss, (new batch_stats, metrics))."""
    outputs, updates = model.apply(
        {"params": params, "batch_stats": batch_stats},
        normalise(batch["image"]),
        train=True,
        mutable=["batch_stats"],
        rngs={"dropout": key},
    )
    loss, terms = tasks.TASKS[config.task].loss(outputs, batch, config, axis_name)
    return loss, (updates["batch_stats"], {"loss": loss, **terms})


def _accumulate(differentiate, state, batch, key, parts):
    """Returns (gradients, batch_stats, metrics), averaged over equal parts of the batch."""

    def gradients_of(batch_stats, part, part_key):
        (_, (batch_stats, metrics)), grads = differentiate(
            state.params, batch_stats, part, part_key
        )
        return batch_stats, (grads, metrics)

    if parts == 1:
        batch_stats, (grads, metrics) = gradients_of(state.batch_stats, batch, key)
        return grads, batch_stats, metrics
    split = jax.tree.map(lambda x: x.reshape(parts, -1, *x.shape[1:]), batch)

    def add(carry, inputs):
        batch_stats, total = carry
        index, part = inputs
        batch_stats, share = gradients_of(
            batch_stats, part, jax.random.fold_in(key, index)
        )
        return (batch_stats, jax.tree.map(lambda t, s: t + s / parts, total, share)), None

    first = jax.tree.map(lambda x: x[0], split)
    _, shapes = jax.eval_shape(gradients_of, state.batch_stats, first, key)
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
    (batch_stats, (grads, metrics)), _ = jax.lax.scan(
        add, (state.batch_stats, zeros), (jnp.arange(parts), split)
    )
    return grads, batch_stats, metrics


def parallel_step(model, tx, config):
    """Returns the pmapped train_step: state replicated and donated, batch per device."""
    step = partial(
        train_step, model=model, tx=tx, config=config, axis_name=parallel.AXIS
    )
    return jax.pmap(
        step,
        axis_name=parallel.AXIS,
        in_axes=(None, 0),
        out_axes=None,
        donate_argnums=0,
    )
