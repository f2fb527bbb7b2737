"""Measures batch-norm statistics after training, to replace the moving averages."""

import itertools
from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from tqdm import tqdm

from encnet_jax.data import Dataset
from encnet_jax.models.norm import SyncBatchNorm
from encnet_jax.pods import parallel
from encnet_jax.pods.signals import StopRequest
from encnet_jax.tasks.network import Network


def measure_step(
    variables: dict,
    images: jax.Array,
    step: jax.Array,
    *,
    model: nn.Module,
    normalise: Callable,
    seed: int,
    norm_group: int = 0,
) -> dict:
    """Returns the mean and the mean square of the input of every batch norm.

    The means are computed over the images of all devices.

    Args:
        variables: {'params', 'batch_stats'}, replicated on all devices.
        images: uint8[b, H, W, 3], this device's part of the batch.
        step: int32[], index of the batch. Dropout depends on `step` and `seed`.
        model: network whose batch norms are synchronised over parallel.AXIS.
        normalise: maps images, uint8[..., 3], to the model's input, f32[..., 3].
        seed: the run's seed.
        norm_group: number of devices that share batch statistics; 0 for all.

    Returns:
        A tree with the structure of batch_stats; 'mean' contains the mean, and 'var'
        contains the mean square instead of the variance.
    """
    key = jax.random.fold_in(jax.random.key(seed), step)
    zeros = jax.tree.map(jnp.zeros_like, variables["batch_stats"])
    _, updates = model.apply(
        {"params": variables["params"], "batch_stats": zeros},
        normalise(images),
        train=True,
        mutable=["batch_stats"],
        rngs={"dropout": key, "smoothing": key},
    )
    # One update of a moving average that starts at zero is `share` times the statistic.
    share = 1 - SyncBatchNorm.momentum
    measured = jax.tree.map(lambda x: x / share, updates["batch_stats"])
    flat = traverse_util.flatten_dict(measured)
    for path in [path for path in flat if path[-1] == "var"]:
        flat[path] = flat[path] + flat[(*path[:-1], "mean")] ** 2
    moments = traverse_util.unflatten_dict(flat)
    if norm_group in (0, jax.lax.axis_size(parallel.AXIS)):
        return moments  # The moments are already equal on all devices.
    total = parallel.sum_in_buckets(moments, parallel.AXIS)
    return jax.tree.map(lambda x: x / jax.lax.axis_size(parallel.AXIS), total)


def recomputed(network: Network, dataset: Dataset, stop: StopRequest) -> dict:
    """Returns the network's variables with batch_stats measured on training batches.

    The statistics are means over eval.precise_norm_steps batches with the trained
    weights. In contrast, the moving averages of training also contain statistics of
    earlier weights. Batches are augmented as in training.

    Args:
        network: the trained network.
        dataset: the open data set, whose split data.train_split is used.
        stop: request to stop, which is checked before each batch.

    Raises:
        Stopped: a stop was requested in any process.
        UserError: the batch size is not divisible by the number of devices, or training
            images are missing.
    """
    variables, config = network.variables, network.config
    parallel.check_batch_size(config.train.batch_size, 1)
    parallel.check_norm_group(config.model.norm_group)
    step_fn = partial(
        measure_step,
        model=network.task.build_model(network.info.num_classes, parallel.AXIS),
        normalise=network.task.normalise,
        seed=config.seed,
        norm_group=config.model.norm_group,
    )
    layout = parallel.SHARED, parallel.ROWS, parallel.SHARED
    measure = parallel.mapped(step_fn, layout, axis_name=parallel.AXIS)
    batches = dataset.train_batches(
        config.data.train_split,
        batch_size=config.train.batch_size,
        seed=config.seed,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    steps = config.eval.precise_norm_steps
    replicated = parallel.replicate(variables)
    total: dict = {}
    fed = stop.watch(parallel.feed(itertools.islice(batches, steps)), steps)
    hidden = jax.process_index() != 0
    shown = tqdm(fed, "batch norm", steps, unit="batch", disable=hidden or None)
    for step, batch in enumerate(shown):
        moments = jax.device_get(measure(replicated, batch["image"], np.int32(step)))
        moments = jax.tree.map(lambda x: x.astype(np.float64), moments)
        total = jax.tree.map(np.add, total, moments) if total else moments
    return {**variables, "batch_stats": _statistics(total, steps)}


def _statistics(total: dict, steps: int) -> dict:
    flat = {k: x / steps for k, x in traverse_util.flatten_dict(total).items()}
    for path in [path for path in flat if path[-1] == "var"]:
        square_of_mean = flat[(*path[:-1], "mean")] ** 2
        # Rounding can make a tiny variance negative, and its square root NaN.
        flat[path] = np.maximum(flat[path] - square_of_mean, 0)
    flat = {k: x.astype(np.float32) for k, x in flat.items()}
    return traverse_util.unflatten_dict(flat)
