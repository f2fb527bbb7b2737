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
import jax.numpy as jnp  # noqa: E402

from benchmarks import measure  # noqa: E402
from configs import base  # noqa: E402
from encnet_jax import config as config_lib  # noqa: E402
from encnet_jax import models, optim, parallel, train_lib  # noqa: E402
from encnet_jax.train_state import TrainState  # noqa: E402
from encnet_jax.train_step import parallel_step  # noqa: E402


def lowered(args, remat: bool) -> tuple[str, dict]:
    """Returns (StableHLO of the step, its parameters' shapes)."""
    config = base.get_config()
    config.architecture = "release"
    config.model.name, config.model.backbone = args.model, args.backbone
    config.model.remat = remat
    config.train.total_steps = 1000
    config = config_lib.resolve(config)
    model = models.build(config.model, args.classes, parallel.AXIS)
    variables = jax.eval_shape(lambda: train_lib.init_variables(model, config))
    tx = optim.optimizer(
        config.optim, variables["params"], total_steps=1000, batch_size=16
    )
    state = jax.eval_shape(lambda v: TrainState.create(v, tx, ema=False), variables)
    shape = (jax.device_count(), 2, config.data.crop_size, config.data.crop_size)
    batch = {
        "image": jax.ShapeDtypeStruct((*shape, 3), jnp.uint8),
        "label": jax.ShapeDtypeStruct(shape, jnp.uint8),
    }
    program = parallel_step(model, tx, config).lower(state, batch)
    return program.as_text(), variables["params"]


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
        text, params = lowered(args, remat)
        leaves = jax.tree_util.tree_leaves_with_path(params)
        norms = sum(path[-1].key == "scale" for path, _ in leaves)
        found = collectives(text)
        rows[name] = {
            "batch norms": norms,
            "gradients": len(leaves),
            **found,
            "besides 2/norm": found["all_reduce"] - 2 * norms,
        }
    measure.report(
        f"collectives of a step, {args.model}-{args.backbone}", rows, vars(args)
    )


if __name__ == "__main__":
    main()
