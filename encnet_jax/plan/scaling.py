"""Estimates how the speed of a configuration scales from one chip to a pod.

python -m encnet_jax.plan --config configs/ade20k.py --topology v5e:2x4 >> plans.txt
python -m encnet_jax.plan.scaling --config configs/ade20k.py --plans plans.txt

The computation time of a chip is estimated from the costs in the plans. The time of
all-reduces is estimated from the lowered step and published link speeds. All-reduces
are assumed not to overlap with computation, because the tested TPU compilers made every
all-reduce of the step synchronous. The host dispatches steps in advance, so a step
takes as long as the host or the chips need, whichever is longer.
"""

import json
import math
from collections.abc import Iterable
from typing import NamedTuple

import jax

from encnet_jax import cli, storage
from encnet_jax.errors import UserError
from encnet_jax.plan.chips import CHIPS, Chip
from encnet_jax.plan.collectives import AllReduce, all_reduces
from encnet_jax.plan.network import NETWORKS, Network, all_reduce_seconds
from encnet_jax.storage import schema

CHIP_COUNTS = (1, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
# All-reduces of fewer bytes are counted as batch-norm statistics, others as gradients.
GRADIENTS_FROM = 2**17
# Images per second that a CPU core prepares: docs/performance.md, ADE20K, crops of 480.
INPUT_IMAGES_PER_CORE = 75
# Host time of dispatching a step, per array of the state, in a run of one process and
# in a run of several processes; docs/performance.md.
DISPATCH_S_ALONE, DISPATCH_S_JOINED = 1.3e-6, 2.6e-6
CHECKPOINT_BYTES_PER_S = 200e6  # From one host to an object store; assumed.


class Row(NamedTuple):
    """The estimated speed of a slice.

    Attributes:
        chips: number of chips of the slice.
        images: number of images per chip and step.
        chip_s: seconds per step for the computation on a chip.
        norm_s: seconds per step for the all-reduces of batch norms.
        gradient_s: seconds per step for all other all-reduces.
        images_per_s: speed of the whole slice.
        efficiency: chip_s divided by the duration of a step, in (0, 1].
        cores: number of CPU cores that each host needs to prepare the images.
    """

    chips: int
    images: int
    chip_s: float
    norm_s: float
    gradient_s: float
    images_per_s: float
    efficiency: float
    cores: float


def main(argv):
    """Parses the flags, lowers the step, and prints the estimates as text and JSON."""

    line = cli.CommandLine(argv, __doc__)
    line.config(required=True)
    line.string(
        "plans",
        "File with the output of `encnet plan` for this configuration and for several"
        " numbers of images per chip; only lines of JSON are read.",
        required=True,
    )
    values = line.parse()
    # This process computes nothing: only the number of devices matters.
    jax.config.update("jax_platforms", "cpu")
    group = values.config.model.norm_group
    if not 0 <= group <= CHIP_COUNTS[-1]:
        raise UserError(
            f"model.norm_group is {group}; expected 0 to {CHIP_COUNTS[-1]}, the number"
            " of chips of the largest slice"
        )
    jax.config.update("jax_num_cpu_devices", max(8, 2 * group))
    plans = read_plans(values.plans)
    from encnet_jax.plan import compile

    config, num_classes = compile.resolved(values.config)
    images = config.train.accumulate
    lowered, params = compile.lower_train_step(config, num_classes, None, images)
    reduces = all_reduces(lowered.as_text())
    arrays = state_arrays(params, averaged=config.optim.ema_decay > 0)
    state_bytes = checkpoint_bytes(params, averaged=config.optim.ema_decay > 0)
    tables = {}
    for generation, chip in CHIPS.items():
        own = generation in plans
        # For a chip without a plan, the costs of another chip's program are used.
        programs = plans[generation if own else next(iter(plans))]
        steps = step_seconds(programs, chip)
        network = NETWORKS[generation]
        tables[generation] = {
            "program": generation if own else next(iter(plans)),
            "weak": weak_scaling(steps, reduces, network, arrays),
            "batch16": fixed_batch(16, steps, reduces, network, arrays),
        }
    print(format_tables(tables, reduces, state_bytes))
    print(json.dumps({"tables": tables, "checkpoint_bytes": state_bytes}))


_PLAN = {
    "topology": str,
    "images_per_chip": schema.whole(1, 1 << 20),
    "flops_per_image": schema.number(0, 1e30),
    "bytes_per_image": schema.number(0, 1e30),
}


def read_plans(path: str) -> dict[str, dict[int, dict]]:
    """Reads plans, the JSON dicts that python -m encnet_jax.plan has printed to a file.

    Returns:
        {chip generation: {images per chip: plan}}. Plans whose training step does not
        fit in memory are left out.

    Raises:
        UserError: the file cannot be read, a plan has an invalid value, or no plan has
            a training step that fits in memory.
    """
    lines = storage.read_bytes(path, storage.MOST_JSON_BYTES).splitlines()
    plans = [
        storage.parsed_json(line, f"--plans {path}")
        for line in lines
        if line.startswith(b"{")
    ]
    found: dict[str, dict[int, dict]] = {}
    for plan in plans:
        if "bytes_per_image" in plan:
            wrong = schema.problem(plan, _PLAN)
            if wrong:
                raise UserError(
                    f"--plans {path} has a plan whose {wrong}: write the file"
                    " again with python -m encnet_jax.plan"
                )
            generation = plan["topology"].partition(":")[0]
            found.setdefault(generation, {})[plan["images_per_chip"]] = plan
    if not found:
        raise UserError(
            f"--plans {path} has no plan whose training step fits in memory;"
            " expected the output of python -m encnet_jax.plan for a large enough slice"
        )
    return found


def checkpoint_bytes(params, averaged: bool) -> int:
    """Returns the total size of the arrays in a checkpoint, in bytes.

    Args:
        params: arrays or shapes of the parameters.
        averaged: whether the checkpoint contains a moving average of the weights.
    """
    arrays = sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(params))
    return (2 + averaged) * arrays  # Weights, momentum, average.


def state_arrays(params, averaged: bool) -> int:
    """Returns the number of arrays in a training state.

    Args:
        params, averaged: see checkpoint_bytes.
    """
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    norms = sum(getattr(path[-1], "key", None) == "scale" for path in paths)
    return (2 + averaged) * len(paths) + 2 * norms


def step_seconds(plans: dict[int, dict], chip: Chip) -> dict[int, float]:
    """Returns {images per chip: seconds of a step} for a single chip.

    The times are lower bounds: the time of the arithmetic or of the memory traffic,
    whichever is longer (the roofline model).

    Args:
        plans: {images per chip: plan}, see read_plans.
        chip: the chip whose arithmetic and memory speeds are used.
    """
    return {
        images: images
        * max(
            plan["flops_per_image"] / chip.flops,
            plan["bytes_per_image"] / chip.bytes_per_s,
        )
        for images, plan in sorted(plans.items())
    }


def weak_scaling(
    steps: dict[int, float],
    reduces: Iterable[AllReduce],
    network: Network,
    arrays: int = 0,
) -> list[Row]:
    """Returns estimates for slices of 1 to 1024 chips with the same batch per chip.

    Args:
        steps: {images per chip: seconds of a step}; the entry with the most images is
            used.
        reduces: the all-reduces of the step.
        network: the network between the chips.
        arrays: number of arrays in the training state. The time that the host needs to
            start a step is proportional to this number.
    """
    images, seconds = max(steps.items())
    return [_row(n, images, seconds, reduces, network, arrays) for n in CHIP_COUNTS]


def fixed_batch(
    batch_size: int,
    steps: dict[int, float],
    reduces: Iterable[AllReduce],
    network: Network,
    arrays: int = 0,
) -> list[Row]:
    """Returns estimates for slices of 1 to 1024 chips with the same total batch size.

    Slices whose number of chips does not divide the batch size are left out. Slices
    whose number of images per chip is not in `steps` are also left out.

    Args:
        batch_size: number of images per step, over all chips.
        steps: {images per chip: seconds of a step}.
        reduces, network, arrays: see weak_scaling.
    """
    shares = {n: batch_size // n for n in CHIP_COUNTS if batch_size % n == 0}
    return [
        _row(n, images, steps[images], reduces, network, arrays)
        for n, images in shares.items()
        if images in steps
    ]


def _row(chips, images, chip_s, reduces, network, arrays) -> Row:
    norm_s = gradient_s = 0.0
    for reduce in reduces:
        # The step was lowered for few devices. All-reduces over all of these devices
        # become all-reduces over all chips; smaller groups keep their size.
        group = reduce.group if reduce.group < _largest(reduces) else chips
        seconds = all_reduce_seconds(reduce.num_bytes, min(group, chips), network)
        if reduce.num_bytes < GRADIENTS_FROM:
            norm_s += seconds
        else:
            gradient_s += seconds
    joined = chips > network.chips_per_host
    host_s = arrays * (DISPATCH_S_JOINED if joined else DISPATCH_S_ALONE)
    step = max(chip_s + norm_s + gradient_s, host_s)
    speed = chips * images / step
    per_host = min(chips, network.chips_per_host)
    return Row(
        chips=chips,
        images=images,
        chip_s=chip_s,
        norm_s=norm_s,
        gradient_s=gradient_s,
        images_per_s=speed,
        efficiency=chip_s / step,
        cores=speed / chips * per_host / INPUT_IMAGES_PER_CORE,
    )


def _largest(reduces: Iterable[AllReduce]) -> int:
    return max(reduce.group for reduce in reduces)


def format_tables(tables: dict, reduces: list[AllReduce], state_bytes: int) -> str:
    """Formats the tables, and the sizes of all-reduces and checkpoints, as text.

    Args:
        tables: {chip generation: table}. A table is a dict: 'program' is the chip
            generation for which the step was compiled; 'weak' and 'batch16' are the
            results of weak_scaling and fixed_batch.
        reduces: the all-reduces of a step.
        state_bytes: size of a checkpoint in bytes.
    """
    large = [r.num_bytes for r in reduces if r.num_bytes >= GRADIENTS_FROM]
    small = [r.num_bytes for r in reduces if r.num_bytes < GRADIENTS_FROM]
    small_mb, large_mb = sum(small) / 1e6, sum(large) / 1e6
    written_s = state_bytes / CHECKPOINT_BYTES_PER_S
    lines = [
        f"small all-reduces of a step: {len(small)}, {small_mb:.2f} MB",
        f"large all-reduces of a step: {len(large)}, {large_mb:.1f} MB",
        f"a checkpoint: {state_bytes / 1e6:.0f} MB, {written_s:.1f} s from one host",
    ]
    heads = "chips images chip_ms small_ms large_ms images/s efficiency cores/host"
    for generation, table in tables.items():
        for kind in ("weak", "batch16"):
            lines.append(
                f"{generation}, {kind}, program of {table['program']}\n  {heads}"
            )
            lines += [f"  {_shown(row)}" for row in table[kind]]
    return "\n".join(lines)


def _shown(row: Row) -> str:
    return (
        f"{row.chips:>5} {row.images:>6} {1e3 * row.chip_s:>7.1f}"
        f" {1e3 * row.norm_s:>8.2f} {1e3 * row.gradient_s:>8.2f}"
        f" {row.images_per_s:>8.0f} {row.efficiency:>10.3f} {row.cores:>10.1f}"
    )


if __name__ == "__main__":
    cli.start(main)
