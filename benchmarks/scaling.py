"""Tests whether a step's time is that of its computation plus its all-reduces.

python -m benchmarks.scaling [--counts 1,2,4,8]

Tests an assumption of `encnet_jax.plan.scaling` with several processes on one machine.
The tiny network's training step is compared with the sum of its time without
collectives and the times of its all-reduces. All processes take part in every
measurement, so that they always share the machine's cores. The time of an all-reduce is
modelled as start + hops * latency + bytes / bandwidth and measured for two sizes. With
more processes than cores, the figures depend on the scheduler.
"""

import json
import time

import numpy as np

from benchmarks import joined, measure

SMALL, LARGE = 2**11, 2**21  # Bytes: a batch norm's statistics; all gradients.


def main() -> None:
    """Starts the processes of each count, one count after the other; prints a table."""
    parser = joined.parser(__doc__, counts="1,2")
    parser.add_argument("--repeats", type=int, default=15)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(measured(args)))
        return
    own = f"--repeats={args.repeats}"
    rows = {}
    for count in map(int, args.counts.split(",")):
        rows[f"{count} processes"] = row(joined.run("benchmarks.scaling", count, own))
    measure.report("a training step of several processes", rows, vars(args))


def row(found: dict) -> dict:
    """Returns a row of the table: the sum of the parts, and the measured step."""
    per_byte = (found["large_s"] - found["small_s"]) / (LARGE - SMALL)
    reduced = sum(
        found["small_s"] + max(0, size - SMALL) * per_byte for size in found["reduces"]
    )
    return {
        "own ms": 1e3 * found["own_s"],
        "small all-reduce ms": 1e3 * found["small_s"],
        "large all-reduce ms": 1e3 * found["large_s"],
        "all-reduces": len(found["reduces"]),
        "predicted ms": 1e3 * (found["own_s"] + reduced),
        "measured ms": 1e3 * found["step_s"],
        "measured / predicted": found["step_s"] / (found["own_s"] + reduced),
    }


def measured(args) -> dict:
    """Times the step, the step without collectives, and two all-reduces.

    Joins the other processes first.

    Args:
        args: the flags of a child process.

    Returns:
        Median seconds, and the bytes of each all-reduce of the step.
    """
    from encnet_jax.pods import distributed, parallel

    count = args.num_processes
    if count > 1:
        distributed.join(args.coordinator_address, count, args.process_id)
    import jax

    from encnet_jax import config as config_lib
    from encnet_jax.plan.collectives import all_reduces
    from encnet_jax.train.assemble import assemble
    from encnet_jax.train.step import parallel_step, single_step

    config = config_lib.load("configs/quickstart.py:smoke")
    config.train.batch_size, config.model.dropout = 2 * count, 0.0
    config = config_lib.resolve(config)
    parts = assemble(config, 6)
    state, step = parallel.replicate(parts.state), parallel_step(parts.step)
    side = config.data.crop_size
    batch = {
        "image": np.zeros((2, side, side, 3), np.uint8),
        "label": np.zeros((2, side, side), np.uint8),
    }
    sharded = parallel.shard(batch)
    lowered = step.lower(state, sharded).as_text()
    alone = assemble(config, 6, axis_name=None)
    own = single_step(alone.step)
    add = parallel.mapped(
        lambda x: jax.lax.psum(x, parallel.AXIS), axis_name=parallel.AXIS
    )
    arrays = [np.ones((1, size // 4), np.float32) for size in (SMALL, LARGE)]

    def run_step():
        nonlocal state
        state, metrics = step(state, sharded)
        jax.block_until_ready(metrics)

    candidates = {
        "step_s": run_step,
        "own_s": lambda: jax.block_until_ready(own(alone.state, batch)),
        "small_s": lambda: jax.block_until_ready(add(arrays[0])),
        "large_s": lambda: jax.block_until_ready(add(arrays[1])),
    }
    return {
        **{name: timed(run, add, args.repeats) for name, run in candidates.items()},
        "reduces": [reduce.num_bytes for reduce in all_reduces(lowered)],
    }


def timed(function, meet, repeats: int) -> float:
    """Returns the median seconds of a function that all processes start together."""
    seconds = []
    for _ in range(repeats + 2):
        np.asarray(meet(np.zeros((1, 1), np.float32)))
        begin = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - begin)
    return float(np.median(seconds[2:]))


if __name__ == "__main__":
    main()
