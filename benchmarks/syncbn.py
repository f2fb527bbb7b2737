"""Collectives in the lowered training step, by kind and by what they carry.

python -m benchmarks.syncbn [--model encnet --backbone resnet50]

Lowers the step for eight devices that need not be there; compiles nothing.
"""

import argparse
import os
import re

# Before JAX starts.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)

import jax  # noqa: E402

from benchmarks import measure  # noqa: E402
from encnet_jax import config as config_lib  # noqa: E402
from encnet_jax.config import defaults  # noqa: E402
from encnet_jax.plan.compile import lower_train_step  # noqa: E402


def make_config(args, remat: bool):
    """Returns the resolved configuration of a row."""
    config = defaults.get_config()
    config.architecture = "release"
    config.model.name, config.model.backbone = args.model, args.backbone
    config.model.remat = remat
    config.train.total_steps = 1000
    return config_lib.resolve(config)


def collectives(text: str) -> dict[str, int]:
    """Returns how many operations of each kind a StableHLO program holds."""
    kinds = ("all_reduce", "all_gather", "all_to_all", "collective_permute")
    return {
        kind: len(re.findall(rf"stablehlo\.{kind}\W", text))
        for kind in (*kinds, "reduce_scatter")
    }


def main() -> None:
    """Prints a table, then the same as one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="encnet")
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--classes", type=int, default=150)
    args = parser.parse_args()
    rows = {}
    for name, remat in (("as trained", False), ("rematerialised", True)):
        config = make_config(args, remat)
        lowered, params = lower_train_step(config, args.classes, None, images=2)
        leaves = jax.tree_util.tree_leaves_with_path(params)
        norms = sum(path[-1].key == "scale" for path, _ in leaves)
        found = collectives(lowered.as_text())
        rows[name] = {
            "batch norms": norms,
            "gradients": len(leaves),
            **found,
            "beyond 2/norm": found["all_reduce"] - 2 * norms,
        }
    measure.report(
        f"collectives of a step, {args.model}-{args.backbone}", rows, vars(args)
    )


if __name__ == "__main__":
    main()
