"""The training step: gradients over all devices, one update, metrics."""

from functools import partial

import jax
import jax.numpy as jnp
import optax

from encnet_jax.models.encoding import smoothing_statistics
from encnet_jax.pods import parallel
from encnet_jax.train_state import TrainState


def train_step(
    state: TrainState, batch: dict, *, model, tx, task, config, axis_name: str | None
) -> tuple[TrainState, dict]:
    """Updates the state by one batch.

    Args:
        state: see TrainState.
        batch: this device's 'image' uint8[b, H, W, 3] and the task's 'label', uint8
            [b, H, W] or [b].
        model: network whose batch norms share `axis_name`.
        tx: optimiser.
        task: normalises images and gives the loss; see tasks.Task.
        config: resolved configuration.
        axis_name: pmap axis, or None outside pmap.

    Returns:
        (next state, {'loss', its terms, 'grad_norm', and where the model learns
        smoothing factors 'smoothing_mean' and 'smoothing_std': f32[]}), equal on all
        devices.
    """
    keys = random_keys(config.seed, state.step, axis_name)
    loss_fn = partial(_loss, model=model, task=task, config=config, axis_name=axis_name)
    grads, batch_stats, metrics = _accumulate(
        jax.value_and_grad(loss_fn, has_aux=True),
        state,
        batch,
        keys,
        config.train.accumulate,
    )
    if axis_name is not None:
        group = config.model.norm_group
        grads, metrics, batch_stats = _combine(
            grads, metrics, batch_stats, axis_name, group
        )
    metrics["grad_norm"] = optax.tree.norm(grads)
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    metrics |= smoothing_statistics(params)
    ema_params = state.ema_params
    if ema_params is not None:
        decay = _ramped(config.optim.ema_decay, state.step)
        ema_params = optax.incremental_update(params, ema_params, 1 - decay)
    return (
        TrainState(state.step + 1, params, batch_stats, opt_state, ema_params),
        metrics,
    )


def _ramped(decay: float, step: jax.Array) -> jax.Array:
    """Returns the average's decay at `step` >= 0, at most `decay`.

    Without the ramp of (1 + step) / (10 + step), as TensorFlow's moving averages have,
    a run shorter than 1 / (1 - decay) steps would be scored on its initial weights.
    """
    return jnp.minimum(decay, (1 + step) / (10 + step))


def _combine(grads, metrics, batch_stats, axis_name, norm_group):
    """Sums gradients and metrics over devices, and averages what differs beside them.

    Running statistics differ where batch norms share theirs in groups; their average
    has the variance within a group, which is what the network is trained with.
    """
    size = jax.lax.axis_size(axis_name)
    if norm_group in (0, size):
        return *parallel.sum_in_buckets((grads, metrics), axis_name), batch_stats
    shares = jax.tree.map(lambda x: x / size, batch_stats)
    return parallel.sum_in_buckets((grads, metrics, shares), axis_name)


def random_keys(seed: int, step: jax.Array, axis_name: str | None) -> dict:
    """Returns the keys of a step's random streams.

    Functions of seed and step: a resumed run drops the same units. Each device drops
    its own; smoothing factors are drawn once for all.

    Args:
        seed: of the run.
        step: int32[], updates done.
        axis_name: pmap axis, or None.
    """
    key = jax.random.fold_in(jax.random.key(seed), step)
    dropout, smoothing = jax.random.split(key)
    if axis_name is not None:
        dropout = jax.random.fold_in(dropout, jax.lax.axis_index(axis_name))
    return {"dropout": dropout, "smoothing": smoothing}


def _loss(params, batch_stats, batch, keys, *, model, task, config, axis_name):
    """Returns (this device's share of the loss, (new batch_stats, metrics))."""
    outputs, updates = model.apply(
        {"params": params, "batch_stats": batch_stats},
        task.normalise(batch["image"]),
        train=True,
        mutable=["batch_stats"],
        rngs=keys,
    )
    loss, terms = task.loss(outputs, batch, config, axis_name)
    return loss, (updates["batch_stats"], {"loss": loss, **terms})


def _accumulate(differentiate, state, batch, keys, parts):
    """Returns (gradients, batch_stats, metrics), averaged over parts of the batch."""

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


def single_step(model, tx, task, config):
    """Returns the compiled train_step of one device, without any collective.

    Args:
        model: of no mapped axis.
        tx, task, config: see train_step.
    """
    return jax.jit(
        partial(
            train_step, model=model, tx=tx, task=task, config=config, axis_name=None
        )
    )


def parallel_step(model, tx, task, config, devices: list | None = None):
    """Returns the pmapped train_step: state replicated and donated, batch per device.

    Args:
        model, tx, task, config: see train_step.
        devices: None for all there are.
    """
    step = partial(
        train_step,
        model=model,
        tx=tx,
        task=task,
        config=config,
        axis_name=parallel.AXIS,
    )
    return jax.pmap(
        step,
        axis_name=parallel.AXIS,
        in_axes=(None, 0),
        out_axes=None,
        donate_argnums=0,
        devices=devices,
    )
