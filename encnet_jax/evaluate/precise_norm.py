"""Recomputed batch-norm statistics in place of the moving averages of training."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from tqdm import tqdm

from encnet_jax import tasks
from encnet_jax.models.norm import SyncBatchNorm
from encnet_jax.pods import parallel
from encnet_jax.pods.signals import StopRequest


def measure_step(variables: dict, images: jax.Array, step: jax.Array, *, model, config):
    """Returns a batch's mean and mean of squares in every batch norm, over all devices.

    Args:
        variables: {'params', 'batch_stats'}, replicated.
        images: this device's uint8[b, H, W, 3].
        step: int32[], decides what dropout drops.
        model: network whose batch norms share parallel.AXIS.
        config: resolved configuration.

    Returns:
        As batch_stats; 'var' holds the mean of squares.
    """
    key = jax.random.fold_in(jax.random.key(config.seed), step)
    zeros = jax.tree.map(jnp.zeros_like, variables["batch_stats"])
    _, updates = model.apply(
        {"params": variables["params"], "batch_stats": zeros},
        tasks.of(config).normalise(images),
        train=True,
        mutable=["batch_stats"],
        rngs={"dropout": key, "smoothing": key},
    )
    # From zero, one step of the moving average is the batch's share of it.
    share = 1 - SyncBatchNorm.momentum
    measured = jax.tree.map(lambda x: x / share, updates["batch_stats"])
    flat = traverse_util.flatten_dict(measured)
    for path in [path for path in flat if path[-1] == "var"]:
        flat[path] = flat[path] + flat[(*path[:-1], "mean")] ** 2
    moments = traverse_util.unflatten_dict(flat)
    if config.model.norm_group in (0, jax.lax.axis_size(parallel.AXIS)):
        return moments  # Equal on all devices already.
    total = parallel.sum_in_buckets(moments, parallel.AXIS)
    return jax.tree.map(lambda x: x / jax.lax.axis_size(parallel.AXIS), total)


def recomputed(variables: dict, config, dataset, stop: StopRequest) -> dict:
    """Replaces batch_stats by those of eval.precise_norm_steps training batches.

    All batches are of the trained weights and count alike, unlike the moving averages,
    which contain weights of the past. Batches are augmented as in training.

    Args:
        variables: {'params', 'batch_stats'}.
        config: resolved configuration.
        dataset: open; its data.train_split is read.
        stop: asked before each batch.

    Raises:
        Stopped: a stop is agreed.
        UserError: the batch does not spread over the devices, or data are missing.
    """
    parallel.check_batch_size(config.train.batch_size, 1)
    parallel.check_norm_group(config.model.norm_group)
    model = tasks.of(config).build_model(
        config, dataset.info.num_classes, parallel.AXIS
    )
    measure = jax.pmap(
        partial(measure_step, model=model, config=config),
        axis_name=parallel.AXIS,
        in_axes=(None, 0, None),
        out_axes=None,
    )
    batches = dataset.train_batches(
        config.data.train_split,
        batch_size=config.train.batch_size,
        seed=config.seed,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    steps = config.eval.precise_norm_steps
    replicated, total = parallel.replicate(variables), None
    fed = stop.watch(parallel.feed(itertools.islice(batches, steps)), steps)
    hidden = jax.process_index() != 0
    shown = tqdm(fed, "batch norm", steps, unit="batch", disable=hidden)
    for step, batch in enumerate(shown):
        moments = jax.device_get(measure(replicated, batch["image"], np.int32(step)))
        if total is None:
            total = jax.tree.map(lambda x: x.astype(np.float64), moments)
        else:
            total = jax.tree.map(np.add, total, moments)
    return {**variables, "batch_stats": _statistics(total, steps)}


def _statistics(total: dict, steps: int) -> dict:
    flat = {k: x / steps for k, x in traverse_util.flatten_dict(total).items()}
    for path in [path for path in flat if path[-1] == "var"]:
        square_of_mean = flat[(*path[:-1], "mean")] ** 2
        # Rounding can push a tiny variance below zero, and its root to NaN.
        flat[path] = np.maximum(flat[path] - square_of_mean, 0)
    flat = {k: x.astype(np.float32) for k, x in flat.items()}
    return traverse_util.unflatten_dict(flat)
