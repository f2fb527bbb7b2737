"""Reports the TPU compiler's costs of a step: memory, bytes, cycles, collectives.

python -m benchmarks.tpu_cost [--backbone resnet50 --batch 8 --topology v5e:2x4]
python -m benchmarks.tpu_cost --networks encnet,duc-1,duc-2     DUC's cells, HDC's rates

Needs no TPU (requirements/plan.txt), but minutes per row. `modelled images/s` is
computed from the compiler's estimated cycles and the chip's clock, not measured.
"""

import argparse
import os

# This process computes nothing, and libtpu must not search for chips.
os.environ["JAX_PLATFORMS"] = "cpu"

from benchmarks import measure  # noqa: E402
from encnet_jax import config as config_lib  # noqa: E402
from encnet_jax.config import defaults  # noqa: E402
from encnet_jax.plan import chips, compile  # noqa: E402

FORMS = {"trained": False, "rematerialised": True}  # Values of model.remat.


def make_config(args, network: str, remat: bool):
    """Returns the resolved configuration of a row; 'duc-2' has cells of 2 pixels."""
    config = defaults.get_config()
    config.architecture = "release"
    name, _, cell = network.partition("-")
    config.model.name = name
    if cell:
        config.model.duc.cell = int(cell)
        config.model.dilation = "hdc_bigger"
    config.model.backbone, config.model.dtype = args.backbone, "bfloat16"
    config.model.remat = remat
    config.data.crop_size = args.size
    config.train.total_steps = 1000
    return config_lib.resolve(config)


def row(cost: compile.Cost) -> dict:
    """Returns the figures of a compiled step, some of them per image."""
    return {
        "temporary MB/image": cost.temporary_bytes / cost.images / 1e6,
        "HBM GiB": cost.hbm_bytes / 2**30,
        "GFLOP/image": cost.flops / cost.images / 1e9,
        "GB/image": cost.bytes_accessed / cost.images / 1e9,
        "modelled images/s": cost.images * measure.V5E_CLOCK_HZ / cost.cycles,
        "all-reduces": cost.all_reduces,
        "compile s": cost.compile_s,
    }


def main() -> None:
    """Prints the results as a table, and as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--size", type=int, default=480)
    parser.add_argument("--batch", type=int, default=8, help="images a chip")
    parser.add_argument("--classes", type=int, default=150)
    parser.add_argument("--topology", default="v5e:2x4")
    parser.add_argument("--networks", default="encnet", help="also: duc-1, duc-2")
    parser.add_argument("--forms", default=",".join(FORMS), help="of each network")
    args = parser.parse_args()
    _, devices = chips.open_topology(args.topology)
    rows = {}
    for network in args.networks.split(","):
        for form in args.forms.split(","):
            config = make_config(args, network, FORMS[form])
            cost = compile.train_cost(config, args.classes, devices, args.batch)
            rows[f"{network}, {form}"] = row(cost)
    title = f"{args.backbone}, {args.batch} x {args.size} a chip, bfloat16"
    measure.report(f"{title}, {args.topology}", rows, vars(args))


if __name__ == "__main__":
    main()
