"""Counts the collectives in the lowered training step, by kind and purpose.

python -m benchmarks.syncbn [--model encnet --backbone resnet50]

Lowers the step for eight devices, which need not be present; compiles nothing. The row
"two synchronisations" exchanges the mean and then the variance, as usual batch norms
do; appendix A of the paper exchanges sums of x and x**2 together.
"""

import argparse
import contextlib
import os
import re

# Set before JAX is imported.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

from benchmarks import measure  # noqa: E402
from encnet_jax import config as config_lib  # noqa: E402
from encnet_jax.config import defaults  # noqa: E402
from encnet_jax.models import norm  # noqa: E402
from encnet_jax.plan.collectives import all_reduces  # noqa: E402
from encnet_jax.plan.compile import lower_train_step  # noqa: E402
from encnet_jax.plan.network import NETWORKS, all_reduce_seconds  # noqa: E402
from encnet_jax.plan.scaling import GRADIENTS_FROM  # noqa: E402


def make_config(args, remat: bool):
    """Returns the resolved configuration of a row."""
    config = defaults.get_config()
    config.architecture = "release"
    config.model.name, config.model.backbone = args.model, args.backbone
    config.model.remat = remat
    config.train.total_steps = 1000
    return config_lib.resolve(config)


def collectives(text: str) -> dict[str, int]:
    """Returns kind -> number of collectives in a StableHLO program."""
    kinds = ("all_reduce", "all_gather", "all_to_all", "collective_permute")
    return {
        kind: len(re.findall(rf"stablehlo\.{kind}\W", text))
        for kind in (*kinds, "reduce_scatter")
    }


def two_synchronisations(x, reduce_axes, axis_name):
    """Returns the result of norm.batch_moments with two collectives instead of one."""
    x = x.astype(jnp.float32)

    def mean_of(values):
        values = jnp.mean(values, reduce_axes)
        return values if axis_name is None else norm._mean_over(values, axis_name)

    mean = mean_of(x)
    variance = mean_of((x - jnp.expand_dims(mean, reduce_axes)) ** 2)
    return jnp.stack([mean, variance + mean**2])


@contextlib.contextmanager
def moments_by(function):
    """Within the block, batch norms compute their moments with `function`."""
    original, norm.batch_moments = norm.batch_moments, function
    try:
        yield
    finally:
        norm.batch_moments = original


def norm_cost(text: str, topology: str) -> dict[str, float]:
    """Returns kB and modelled ms of the small all-reduces of a StableHLO program."""
    generation, _, chips = topology.partition(":")
    small = [r.num_bytes for r in all_reduces(text) if r.num_bytes < GRADIENTS_FROM]
    seconds = sum(
        all_reduce_seconds(each, int(chips), NETWORKS[generation]) for each in small
    )
    return {"small, kB": sum(small) / 1e3, f"{topology}, modelled ms": 1e3 * seconds}


def main() -> None:
    """Prints the results as a table, and as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="encnet")
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--classes", type=int, default=150)
    parser.add_argument("--topology", default="v5e:64", help="generation:chips")
    args = parser.parse_args()
    rows = {}
    for name, remat, moments in (
        ("as trained", False, norm.batch_moments),
        ("two synchronisations", False, two_synchronisations),
        ("rematerialised", True, norm.batch_moments),
    ):
        config = make_config(args, remat)
        with moments_by(moments):
            lowered, params = lower_train_step(config, args.classes, None, images=2)
        leaves = jax.tree_util.tree_leaves_with_path(params)
        norms = sum(path[-1].key == "scale" for path, _ in leaves)
        text = lowered.as_text()
        found = collectives(text)
        rows[name] = {
            "batch norms": norms,
            "gradients": len(leaves),
            **found,
            "beyond 2/norm": found["all_reduce"] - 2 * norms,
            **norm_cost(text, args.topology),
        }
    measure.report(
        f"collectives of a step, {args.model}-{args.backbone}", rows, vars(args)
    )


if __name__ == "__main__":
    main()
