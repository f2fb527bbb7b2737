"""Devices: the mapped axis, replication, and feeding batches ahead of the step."""

import collections
import os
from collections.abc import Iterable, Iterator

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from encnet_jax.errors import UserError

AXIS = "batch"  # The pmap axis over all devices of all processes.


def enable_compilation_cache() -> None:
    """Keeps compiled programs on disk, so that a second start compiles nothing.

    JAX_COMPILATION_CACHE_DIR names another folder; set it empty to keep nothing.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = os.path.expanduser("~/.cache/encnet_jax/compiled")
        jax.config.update("jax_compilation_cache_dir", folder)


def _sharding(spec: PartitionSpec) -> NamedSharding:
    return NamedSharding(Mesh(np.array(jax.local_devices()), (AXIS,)), spec)


def replicate(tree):
    """Puts a tree of arrays on every local device, unstacked, as the pmapped step returns it.

    A donated single-device array would fail in the first call with several processes.
    """
    return jax.device_put(tree, _sharding(PartitionSpec()))


def shard(batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """Spreads a process's batch over its devices.

    Args:
        batch: arrays [b, ...], b a multiple of the local device count.

    Returns:
        Arrays [devices, b / devices, ...], one row on each device.
    """
    devices = jax.local_device_count()
    stacked = {k: v.reshape(devices, -1, *v.shape[1:]) for k, v in batch.items()}
    return jax.device_put(stacked, _sharding(PartitionSpec(AXIS)))


def feed(batches: Iterable[dict], ahead: int = 2) -> Iterator[dict]:
    """Yields sharded batches, starting the transfer of the next ones early."""
    queue = collections.deque()
    for batch in batches:
        queue.append(shard(batch))
        if len(queue) >= ahead:
            yield queue.popleft()
    yield from queue


def check_batch_size(batch_size: int, accumulate: int) -> None:
    """Raises UserError unless a global batch spreads evenly over devices and parts."""
    wanted = jax.device_count() * accumulate
    if batch_size % wanted:
        raise UserError(
            f"train.batch_size is {batch_size}, wanted a multiple of {wanted}"
            f" ({jax.device_count()} devices x train.accumulate {accumulate})"
        )


def describe_devices() -> str:
    """Returns for example '8 x TPU v5 lite' or '1 x cpu'."""
    return f"{jax.device_count()} x {jax.devices()[0].device_kind}"
