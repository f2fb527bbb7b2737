"""Labels photographs: python predict.py --workdir RUN --input DIR --output OUT."""

import sys

from absl import flags

from encnet_jax import cli
from encnet_jax.errors import UserError


def main(argv):
    """Parses the flags and writes three PNGs for each image."""

    def define(values):
        string = flags.DEFINE_string
        string("workdir", None, "The run whose model to use.", flag_values=values)
        string(
            "checkpoint",
            None,
            "A step, or 'best'. Default: newest.",
            flag_values=values,
        )
        string("input", None, "An image, or a folder of images.", flag_values=values)
        string("output", None, "Folder for the PNGs.", flag_values=values)

    values = cli.parse(argv, define)
    for name in ("workdir", "input", "output"):
        if not values[name].value:
            raise UserError(f"--{name} is missing; --help lists the flags")
    from encnet_jax import predict_lib

    return predict_lib.predict_files(
        values.workdir, values.input, values.output, checkpoint=values.checkpoint
    )


if __name__ == "__main__":
    sys.exit(cli.run(main, sys.argv))
