"""Measures the host time of dispatching a step against the number of state arrays.

python -m benchmarks.dispatch [--counts 1,2,4 --leaves 500]

The step only copies its state. It is mapped with `jax.pmap` and with `jax.jit` and
`jax.shard_map` (ENCNET_STEP), with the state as separate arrays and packed into four
arrays. Milliseconds are CPU time of the dispatching thread, so that other work on the
machine matters less.
"""

import json
import os
import statistics
import time

import jax
import numpy as np

from benchmarks import joined, measure
from encnet_jax.pods import parallel

PACKED = 4  # Number of arrays of a packed state.
WARM_UP = 10  # Number of steps that are not timed.


def step(state: dict, batch: jax.Array) -> dict:
    """Returns a state that depends on all inputs."""
    return jax.tree.map(lambda x: x + batch.sum() * 0, state)


def mappings(state: dict, batch: np.ndarray) -> dict[str, tuple]:
    """Returns mapping -> (compiled step, its state, its batch), as in training.

    Args:
        state: arrays by name, for every device.
        batch: [local devices, n].
    """
    found = {}
    for form in ("pmap", "shard_map"):
        os.environ[parallel.FORM] = form
        layout = parallel.SHARED, parallel.ROWS
        mapped = parallel.mapped(step, layout, axis_name=parallel.AXIS, donate=(0,))
        found[form] = mapped, parallel.replicate(state), parallel.spread(batch)
    return found


def measured(leaves: int, steps: int) -> dict[str, dict]:
    """Returns median and smallest milliseconds for each state and mapping."""
    batch, rows = np.zeros((jax.local_device_count(), 8), np.float32), {}
    for count in (leaves, PACKED):
        sizes = np.zeros(64 * leaves // count, np.float32)
        state = {f"{i:04d}": sizes for i in range(count)}
        for name, (function, own, fed) in mappings(state, batch).items():
            spent = []
            for _ in range(WARM_UP + steps):
                start = time.thread_time()
                own = function(own, fed)
                spent.append(1e3 * (time.thread_time() - start))
                jax.block_until_ready(own)
            spent = spent[WARM_UP:]
            row = {"median ms": statistics.median(spent), "least ms": min(spent)}
            rows[f"{count} arrays, {name}"] = row
    return rows


def main() -> None:
    """Starts the processes of each count, one count after the other; prints a table."""
    parser = joined.parser(__doc__, counts="1,2,4")
    parser.add_argument("--leaves", type=int, default=500)
    parser.add_argument("--steps", type=int, default=50)
    args = parser.parse_args()
    if args.child:
        if args.num_processes > 1:
            jax.config.update("jax_cpu_collectives_implementation", "gloo")
            jax.distributed.initialize(
                args.coordinator_address, args.num_processes, args.process_id
            )
        print(json.dumps(measured(args.leaves, args.steps)))
        return
    own = [f"--leaves={args.leaves}", f"--steps={args.steps}"]
    rows = {}
    for count in map(int, args.counts.split(",")):
        for name, row in joined.run("benchmarks.dispatch", count, *own).items():
            rows[f"{count} processes, {name}"] = row
    measure.report("host time of dispatching a step", rows, vars(args))


if __name__ == "__main__":
    main()
