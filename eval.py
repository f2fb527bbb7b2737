"""Scores a checkpoint: python eval.py --workdir runs/camvid."""

import sys

from absl import flags

from encnet_jax import cli
from encnet_jax.errors import UserError


def main(argv):
    """Parses the flags, evaluates, prints the table, writes report.json."""

    def define(values):
        cli.define_config(values, argv)
        string = flags.DEFINE_string
        string("workdir", None, "The run to score.", flag_values=values)
        string(
            "checkpoint", None, "A step, or 'best'. Default: newest.", flag_values=values
        )
        string("split", None, "Default: data.val_split.", flag_values=values)
        string("protocol", None, "Default: eval.protocol.", flag_values=values)

    values = cli.parse(argv, define)
    if not values.workdir:
        raise UserError("no run to score: add --workdir runs/NAME")
    from encnet_jax import eval_run

    eval_run.evaluate_run(
        values.workdir,
        checkpoint=values.checkpoint,
        split=values.split,
        protocol=values.protocol,
        config=values.config,
    )


if __name__ == "__main__":
    sys.exit(cli.run(main, sys.argv))
