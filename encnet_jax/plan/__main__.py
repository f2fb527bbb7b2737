"""Checks whether a run fits a TPU slice before you rent it.

python -m encnet_jax.plan --config configs/ade20k.py --topology v5e:2x4

Compiles the training and evaluation steps for the slice; no TPU is needed. Prints the
memory, the number of operations and the memory traffic that the compiler reports, and
bounds on the speed and the training time: first as a table, then as one line of JSON.
"""

import json
import sys

from encnet_jax import cli
from encnet_jax.config import TrainConfig
from encnet_jax.errors import UserError

# Memory grows in steps of this number of images: TPUs store images in groups of eight.
GROUP = 8


def main(argv):
    """Parses the flags, compiles the steps, and prints the estimates."""

    line = cli.CommandLine(argv, __doc__)
    line.config(required=True)
    line.string(
        "topology",
        "Chip and shape of the slice, for example v5e:2x4 or v4:2x2x1.",
        required=True,
    )
    line.switch(
        "step_only", "Skip the evaluation step and the search for the largest batch."
    )
    values = line.parse()
    import jax  # Imported here, so that mistyped flags are reported without delay.

    # This process computes nothing, and libtpu must not search for chips.
    jax.config.update("jax_platforms", "cpu")
    report = plan(
        values.config,
        values.topology,
        cli.config_name(values),
        step_only=values.step_only,
    )
    print(format_report(report))
    print(json.dumps(report))


def plan(config, topology: str, name: str, *, step_only: bool = False) -> dict:
    """Compiles the training and evaluation steps of a configuration for a TPU slice.

    Args:
        config: result of `config.load`, with command-line overrides applied.
        topology: chip and shape of the slice, for example 'v5e:2x4'.
        name: name of the configuration in the result.
        step_only: whether to skip the evaluation step and the search for the largest
            batch.

    Returns:
        A JSON-ready dict: sizes in bytes; compilation times in seconds; an upper bound
        of the images/s per chip; a lower bound of the training time in hours.

    Raises:
        UserError: a value is invalid, the slice does not exist, or libtpu is missing.
    """
    from encnet_jax.plan import chips, compile

    config, num_classes = compile.resolved(config)
    chip, devices = chips.open_topology(topology)
    share = _images_per_chip(config.train, config.model.norm_group, len(devices))

    def train_cost(images):
        _progress(f"training step, {images} images a chip")
        try:
            cost = compile.train_cost(config, num_classes, devices, images)
        except compile.DoesNotFit as error:
            _progress(str(error))
            return None
        _progress(f"{cost.hbm_bytes / 2**30:.2f} GiB; took {cost.compile_s:.0f} s")
        return cost

    cost = train_cost(share)
    report = {
        "config": name,
        "topology": topology,
        "chips": len(devices),
        "images_per_chip": share,
        "hbm_per_chip": chip.hbm_bytes,
        "fits": cost is not None and cost.hbm_bytes <= chip.hbm_bytes,
    }
    if cost is None:
        return report
    report |= _speed(cost, chip, config.train, len(devices))
    if step_only:
        return report
    _progress("evaluation step")
    images = max(1, config.eval.batch_size // len(devices))
    evaluation = compile.eval_cost(config, num_classes, devices, images)
    return {
        **report,
        **_largest_batch(train_cost, cost, chip.hbm_bytes),
        "eval_images_per_chip": images,
        "eval_hbm": evaluation.hbm_bytes,
        "eval_fits": evaluation.hbm_bytes <= chip.hbm_bytes,
        "eval_compile_s": evaluation.compile_s,
    }


def _images_per_chip(train: TrainConfig, norm_group: int, num_chips: int) -> int:
    """Returns the number of images that each chip processes per step.

    Raises:
        UserError: train.batch_size is not a multiple of chips x train.accumulate, or
            the number of chips is not a multiple of model.norm_group.
    """
    from encnet_jax.pods import parallel

    share, rest = divmod(train.batch_size, num_chips * train.accumulate)
    if rest:
        raise UserError(
            f"train.batch_size is {train.batch_size}; expected a multiple of"
            f" {num_chips * train.accumulate} ({num_chips} chips x train.accumulate"
            f" {train.accumulate})"
        )
    parallel.check_norm_group(norm_group, num_chips)
    return share * train.accumulate


def _progress(line: str) -> None:
    print(f"compiling: {line}", file=sys.stderr, flush=True)


def _speed(cost, chip, train: TrainConfig, num_chips: int) -> dict:
    """Returns the costs of a training step, and the largest possible speed.

    The speed is limited by arithmetic or by memory traffic, whichever takes longer (the
    roofline model).
    """
    # The compiler counts only one of the micro-batches.
    counted = cost.images / train.accumulate
    flops, accessed = cost.flops / counted, cost.bytes_accessed / counted
    seconds = {"arithmetic": flops / chip.flops, "memory": accessed / chip.bytes_per_s}
    bound = max(seconds, key=lambda kind: seconds[kind])
    images = train.total_steps * train.batch_size
    return {
        "hbm": cost.hbm_bytes,
        "all_reduces": cost.all_reduces,
        "all_reduce_bytes": cost.all_reduce_bytes,
        "flops_per_image": flops,
        "bytes_per_image": accessed,
        "images_per_s_per_chip": 1 / seconds[bound],
        "bound_by": bound,
        "hours": images * seconds[bound] / num_chips / 3600,
        "compile_s": cost.compile_s,
    }


def _largest_batch(train_cost, known, hbm_bytes: float) -> dict:
    """Estimates the largest batch that fits a chip, and compiles a step of this size.

    The estimate is a linear extrapolation of the memory for 8 and for 16 images.

    Args:
        train_cost: function that compiles the training step for a number of images per
            chip and returns the Cost, or None if the step does not fit.
        known: the Cost of a step that was compiled before, for any number of images.
        hbm_bytes: memory of the chip in bytes.
    """
    small, large = (
        known if known.images == images else train_cost(images)
        for images in (GROUP, 2 * GROUP)
    )
    if small is None or large is None:
        # Two groups do not fit, so the largest batch is one that was compiled.
        images = known.images if small is None else max(GROUP, known.images)
        return {"largest_batch": images, "largest_batch_confirmed": True}
    each = (large.hbm_bytes - small.hbm_bytes) / GROUP
    groups = int((hbm_bytes - small.hbm_bytes) / each / GROUP)
    images = GROUP * (1 + groups)
    confirmed = images in (GROUP, 2 * GROUP) or train_cost(images) is not None
    return {
        "largest_batch": images,
        "largest_batch_confirmed": confirmed,
        "hbm_per_image": each,
    }


_ROWS = (
    ("fits", "fits in memory", lambda x: "yes" if x else "NO"),
    ("images_per_chip", "images per chip and step", str),
    ("hbm", "peak HBM per chip, GiB", lambda x: f"{x / 2**30:.2f}"),
    ("hbm_per_chip", "HBM of a chip, GiB", lambda x: f"{x / 2**30:.2f}"),
    ("largest_batch", "largest batch per chip, images", str),
    ("largest_batch_confirmed", "  compiled", lambda x: "yes" if x else "NO"),
    ("hbm_per_image", "HBM per image, MiB", lambda x: f"{x / 2**20:.0f}"),
    ("all_reduces", "all-reduces per step", str),
    ("all_reduce_bytes", "  MB in total", lambda x: f"{x / 1e6:.1f}"),
    ("flops_per_image", "GFLOP per image", lambda x: f"{x / 1e9:.0f}"),
    ("bytes_per_image", "memory traffic per image, GB", lambda x: f"{x / 1e9:.2f}"),
    ("images_per_s_per_chip", "images/s per chip, at most", lambda x: f"{x:.0f}"),
    ("bound_by", "  bound by", str),
    ("hours", "hours for the schedule, at least", lambda x: f"{x:.1f}"),
    ("compile_s", "compile time here, s", lambda x: f"{x:.0f}"),
    ("eval_images_per_chip", "evaluation: images per chip", str),
    ("eval_hbm", "  peak HBM per chip, GiB", lambda x: f"{x / 2**30:.2f}"),
    ("eval_fits", "  fits in memory", lambda x: "yes" if x else "NO"),
    ("eval_compile_s", "  compile time here, s", lambda x: f"{x:.0f}"),
)


def format_report(report: dict) -> str:
    """Formats the estimates that `plan` returns as lines of text."""
    lines = [f"{report['config']} on {report['topology']} ({report['chips']} chips)"]
    for key, label, show in _ROWS:
        if key in report:
            lines.append(f"  {label:<34} {show(report[key])}")
    return "\n".join(lines)


if __name__ == "__main__":
    cli.start(main)
