"""Maps functions over devices, replicates arrays, and prefetches batches."""

import collections
import contextlib
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from encnet_jax.errors import UserError

AXIS = "batch"  # The mapped axis: all devices of all processes.
FORM = "ENCNET_STEP"  # Environment variable: 'pmap' or 'shard_map'; see form_of_step.
BUCKET_BYTES = 64 * 2**20  # Limit on the bytes that one collective sums.


def enable_compilation_cache() -> None:
    """Stores compiled programs on disk, so that later starts need not compile again.

    The folder is ~/.cache/encnet_jax/compiled or the value of the environment variable
    JAX_COMPILATION_CACHE_DIR; an empty value disables the cache. Other users must not
    be able to write to the folder, because cached programs are executed without checks.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = os.path.expanduser("~/.cache/encnet_jax/compiled")
        with contextlib.suppress(OSError):  # If it cannot be created, JAX warns.
            os.makedirs(folder, mode=0o700, exist_ok=True)
        jax.config.update("jax_compilation_cache_dir", folder)


def form_of_step() -> str:
    """Returns which JAX function maps a step over devices: 'pmap' or 'shard_map'.

    The environment variable ENCNET_STEP selects the function; results are bitwise equal
    with either function. By default, a run of one process uses 'pmap', and a run of
    several processes uses 'shard_map'. With several processes, `jax.pmap` takes up to
    nine times as long to start a step; see docs/performance.md.

    Raises:
        UserError: ENCNET_STEP is neither 'pmap' nor 'shard_map'.
    """
    default = "pmap" if jax.process_count() == 1 else "shard_map"
    form = os.environ.get(FORM, default)
    if form not in ("pmap", "shard_map"):
        raise UserError(
            f"the environment variable {FORM} is {form!r}; expected 'pmap' or"
            " 'shard_map'"
        )
    return form


def _sharding(spec: PartitionSpec, devices: list | None = None) -> NamedSharding:
    devices = jax.local_devices() if devices is None else devices
    return NamedSharding(Mesh(np.array(devices), (AXIS,)), spec)


def replicated(devices: list | None = None) -> NamedSharding:
    """Returns the sharding of arrays that are copied to every device."""
    return _sharding(PartitionSpec(), devices)


def replicate(tree, devices: list | None = None):
    """Copies a tree of arrays to every local device.

    The copies have the same sharding as the outputs of a training step. The step can
    therefore reuse the memory of the copies (donation).
    """
    return jax.device_put(tree, replicated(devices))


def replaced(tree, sharding: NamedSharding):
    """Changes the sharding of replicated arrays, without copying their memory.

    Arrays on the devices of this process can become arrays on the devices of all
    processes, and vice versa.

    Args:
        tree: tree of arrays that are equal on all devices, such as results of `mapped`.
        sharding: the new sharding: replicated over the local devices or all devices.
    """

    def convert(x):
        buffers = [shard.data for shard in x.addressable_shards]
        return jax.make_array_from_single_device_arrays(x.shape, sharding, buffers)

    return jax.tree.map(convert, tree)


def shard(batch, devices: list | None = None):
    """Distributes the batch of this process over the devices of this process.

    Args:
        batch: tree of arrays [b, ...]; b must be a multiple of the number of devices.
        devices: devices to use; None for all local devices.

    Returns:
        Tree of arrays [devices, b / devices, ...]; row i of each array is on device i.
    """
    count = jax.local_device_count() if devices is None else len(devices)
    stacked = jax.tree.map(lambda x: x.reshape(count, -1, *x.shape[1:]), batch)
    return spread(stacked, devices)


def spread(tree, devices: list | None = None):
    """Copies row i of every array to device i.

    Args:
        tree: tree of arrays [devices, ...].
        devices: devices to use; None for all local devices.
    """
    return jax.device_put(tree, _sharding(PartitionSpec(AXIS), devices))


ROWS, SHARED = 0, None  # Layouts of the arguments of `mapped`.


def mapped(
    fn: Callable,
    layout: int | tuple[int | None, ...] = ROWS,
    *,
    devices: list | None = None,
    axis_name: str | None = None,
    donate: tuple[int, ...] = (),
) -> "jax.stages.Wrapped | _ShardMapped":
    """Returns a compiled function that runs `fn` on every device.

    Without `axis_name`, the results of all devices are stacked along a new first axis.
    With `axis_name`, `fn` must compute the same result on all devices, and one copy is
    returned.

    Args:
        fn: function of arrays or trees of arrays.
        layout: ROWS or SHARED for all arguments; or a tuple of ROWS and SHARED, with
            one element for each argument. A ROWS argument has arrays [devices, ...],
            and `fn` receives row i on device i; see `spread`. A SHARED argument is the
            same on all devices; see `replicate`.
        devices: devices to use; None for all devices of all processes.
        axis_name: name of the mapped axis for collectives in `fn`; None: no
            collectives.
        donate: indices of the arguments whose memory may be reused.
    """
    if axis_name is not None and devices is None and form_of_step() == "shard_map":
        return _ShardMapped(fn, layout, axis_name, donate)
    return jax.pmap(
        fn,
        axis_name=axis_name,
        in_axes=layout,
        out_axes=ROWS if axis_name is None else SHARED,
        devices=devices,
        donate_argnums=donate,
    )


class _ShardMapped:
    """The function that `mapped` returns if `jax.shard_map` is used."""

    def __init__(
        self,
        fn: Callable,
        layout: int | tuple[int | None, ...],
        axis_name: str,
        donate: tuple[int, ...],
    ):
        """Prepares a function whose results are arrays that span all processes.

        Args:
            fn, layout, axis_name, donate: see `mapped`.
        """
        self._fn, self._layout = fn, layout
        self._mesh = Mesh(np.array(jax.devices()), (axis_name,))
        many = layout if isinstance(layout, tuple) else None
        on_devices = jax.shard_map(
            self._on_device,
            mesh=self._mesh,
            in_specs=tuple(map(self._spec, many)) if many else self._spec(layout),
            out_specs=self._spec(SHARED),
            check_vma=False,
        )
        self._program = jax.jit(on_devices, donate_argnums=donate)

    def __call__(self, *args):
        return self._program(*self._placed(args))

    def lower(self, *args):
        """Lowers the function for these arguments; see jax.stages.Wrapped."""
        return self._program.lower(*self._placed(args))

    def _spec(self, kind) -> PartitionSpec:
        return PartitionSpec(*(() if kind is SHARED else self._mesh.axis_names))

    def _pairs(self, args: tuple) -> Iterator[tuple]:
        if isinstance(self._layout, tuple):
            return zip(args, self._layout, strict=True)
        return ((arg, self._layout) for arg in args)

    def _on_device(self, *args):
        rows = (
            arg if kind is SHARED else jax.tree.map(lambda x: x[0], arg)
            for arg, kind in self._pairs(args)
        )
        return self._fn(*rows)

    def _placed(self, args: tuple):
        """Converts arrays of this process to arrays that span all processes.

        The memory of arrays that are already on the devices is not copied.
        """
        if jax.process_count() == 1:
            return args
        return [
            jax.tree.map(partial(self._of_all_processes, kind=kind), arg)
            for arg, kind in self._pairs(args)
        ]

    def _of_all_processes(self, x, kind):
        if not isinstance(x, jax.Array):
            x = replicate(x) if kind is SHARED else spread(x)
        elif not x.is_fully_addressable:
            return x  # For example the previous step's state.
        return jax.make_array_from_single_device_arrays(
            x.shape if kind is SHARED else (self._mesh.size, *x.shape[1:]),
            NamedSharding(self._mesh, self._spec(kind)),
            [shard.data for shard in x.addressable_shards],
        )


def feed(batches: Iterable[dict], ahead: int = 2) -> Iterator[dict]:
    """Transfers batches to the devices before they are needed, and yields them.

    Args:
        batches: batches of this process, see `shard`. A batch of arrays [devices, ...]
            that is already on the devices is yielded unchanged.
        ahead: number of batches on the devices at a time, including the yielded batch.
    """
    queue: collections.deque[dict] = collections.deque()
    for batch in batches:
        made_there = isinstance(next(iter(batch.values())), jax.Array)
        queue.append(batch if made_there else shard(batch))
        if len(queue) >= ahead:
            yield queue.popleft()
    yield from queue


def sum_in_buckets(tree, axis_name: str, bucket_bytes: int = BUCKET_BYTES):
    """Sums a tree of arrays over a mapped axis with few collectives.

    Consecutive arrays of the tree are concatenated to flat arrays (buckets). With one
    collective per array, a step would wait for the network hundreds of times.

    Args:
        tree: tree of float32 arrays.
        axis_name: the mapped axis.
        bucket_bytes: largest number of bytes per collective; an array with more bytes
            is summed by a separate collective.

    Returns:
        Tree of the summed arrays, which are equal on all devices.
    """
    if jax.lax.axis_size(axis_name) == 1:
        return tree  # Flattening would only copy.
    leaves, structure = jax.tree.flatten(tree)
    sums = [_flat_sum(bucket, axis_name) for bucket in _buckets(leaves, bucket_bytes)]
    return jax.tree.unflatten(structure, itertools.chain(*sums))


def _flat_sum(bucket: list, axis_name: str) -> list:
    flat = jnp.concatenate([leaf.ravel() for leaf in bucket])
    ends = np.cumsum([leaf.size for leaf in bucket])[:-1]
    parts = jnp.split(jax.lax.psum(flat, axis_name), ends)
    return [part.reshape(leaf.shape) for part, leaf in zip(parts, bucket, strict=True)]


def _buckets(leaves: list, bucket_bytes: int) -> Iterator[list]:
    """Yields lists of consecutive arrays, with at most bucket_bytes in each list.

    An array with more than bucket_bytes is yielded as a list of one array.
    """
    bucket: list = []
    size = 0
    for leaf in leaves:
        more = leaf.size * leaf.dtype.itemsize
        if bucket and size + more > bucket_bytes:
            yield bucket
            bucket, size = [], 0
        bucket.append(leaf)
        size += more
    if bucket:
        yield bucket


def check_batch_size(
    batch_size: int, accumulate: int, name: str = "train.batch_size"
) -> None:
    """Raises UserError unless batch_size is a multiple of devices x accumulate.

    Args:
        batch_size: number of images in a batch, on all devices together.
        accumulate: field `train.accumulate`, the number of micro-batches into which
            each device splits a batch.
        name: name of the field with the batch size, for the message.
    """
    multiple = jax.device_count() * accumulate
    if batch_size % multiple:
        raise UserError(
            f"{name} is {batch_size}; expected a multiple of {multiple}"
            f" ({jax.device_count()} devices x train.accumulate {accumulate})"
        )


def check_norm_group(group: int, num_devices: int | None = None) -> None:
    """Raises UserError unless the number of devices is a multiple of `group`.

    Args:
        group: field `model.norm_group`, the number of devices that share batch-norm
            statistics; 0: all devices.
        num_devices: number of devices; None for all devices of the run.
    """
    devices = jax.device_count() if num_devices is None else num_devices
    if group < 0 or (group and devices % group):
        divisors = [str(n) for n in range(1, devices + 1) if devices % n == 0]
        raise UserError(
            f"model.norm_group is {group}; expected 0 (one group of all devices) or a"
            f" divisor of the number of devices, {devices}: {', '.join(divisors)}"
        )


def describe_devices() -> str:
    """Returns the number and kind of the devices, such as '8 x TPU v5 lite'."""
    return f"{jax.device_count()} x {jax.devices()[0].device_kind}"
