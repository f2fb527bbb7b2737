"""Labels photographs: index PNG, colour PNG and overlay for each.

python predict.py --workdir runs/camvid --input photos --output labelled
"""

import sys

from absl import flags

from encnet_jax import cli


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
        refine = (
            "'dense', or a file of `encnet_jax.report refine`. Default: as trained."
        )
        string("refine", None, refine, flag_values=values)
        string("input", None, "An image, or a folder of images.", flag_values=values)
        string("output", None, "Folder for the PNGs.", flag_values=values)

    required = ("workdir", "input", "output")
    values = cli.parse(argv, define, about=__doc__, required=required)
    from encnet_jax.evaluate import predict as predict_lib

    return predict_lib.predict_files(
        values.workdir,
        values.input,
        values.output,
        checkpoint=values.checkpoint,
        refine=values.refine,
    )


if __name__ == "__main__":
    sys.exit(cli.run(main, sys.argv))
