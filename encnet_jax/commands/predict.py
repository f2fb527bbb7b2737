"""Labels photographs: index PNG, colour PNG and overlay for each.

python predict.py --workdir runs/camvid --input photos --output labelled
"""

from collections.abc import Sequence

from encnet_jax import cli


def main(argv: Sequence[str]) -> int:
    """Parses the flags and writes three PNGs for each image."""
    line = cli.CommandLine(argv, __doc__)
    line.string("workdir", "The run whose model to use.", required=True)
    line.checkpoint()
    refined = "'dense', or a file of `encnet_jax.report refine`"
    line.string("refine", f"{refined}. Default: as trained.")
    line.string("input", "An image, or a folder of images.", required=True)
    line.string("output", "Folder for the PNGs.", required=True)
    values = line.parse()
    from encnet_jax.evaluate import predict as predict_lib

    return predict_lib.predict_files(
        values.workdir,
        values.input,
        values.output,
        checkpoint=values.checkpoint,
        refine=values.refine,
    )
