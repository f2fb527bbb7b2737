"""Reports operations and parameters of the four networks, from the compiler.

python -m benchmarks.flops [--backbone resnet50 --size 480]

Counts one image's forward pass, without upsampling. The paper states that context
encoding costs 3-5 % more than FCN.
"""

import argparse
import math
import os

import jax
import jax.numpy as jnp

from benchmarks import measure
from encnet_jax import config as config_lib
from encnet_jax import models
from encnet_jax.config import defaults
from encnet_jax.models import HEADS
from encnet_jax.models.by_platform import SWITCH
from encnet_jax.train.assemble import init_variables


def cost(name: str, args) -> dict:
    """Returns GFLOP per image and millions of parameters, without auxiliary head."""
    config = defaults.get_config()
    config.architecture = args.architecture
    config.model.name, config.model.backbone = name, args.backbone
    config.data.crop_size = args.size
    config = config_lib.resolve(config)
    model = models.build(config.model, args.classes)
    variables = jax.eval_shape(
        lambda: init_variables(model, config.seed, config.data.crop_size)
    )
    pixels = jax.ShapeDtypeStruct((1, args.size, args.size, 3), jnp.float32)

    def forward(variables, pixels):
        return model.apply(variables, pixels)["logits"]

    flops = jax.jit(forward).lower(variables, pixels).cost_analysis()["flops"]
    params = dict(variables["params"])
    params.pop("aux_head", None)
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
    return {"GFLOP": flops / 1e9, "parameters M": count / 1e6}


def main() -> None:
    """Prints the results as a table, and as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--size", type=int, default=480)
    parser.add_argument("--classes", type=int, default=150)
    parser.add_argument("--architecture", default="paper")
    args = parser.parse_args()
    os.environ[SWITCH] = "0"  # Winograd forms multiply less often.
    rows = {name: cost(name, args) for name in sorted(HEADS, key="encnet".__eq__)}
    for row in rows.values():
        row["over FCN %"] = 100 * (row["GFLOP"] / rows["fcn"]["GFLOP"] - 1)
    measure.report(
        f"one image of {args.size}, {args.backbone}, {args.architecture}",
        rows,
        vars(args),
    )


if __name__ == "__main__":
    main()
