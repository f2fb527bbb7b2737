"""Scores a checkpoint, or labels a test split for a benchmark's server.

python eval.py --workdir runs/camvid --protocol release
python eval.py --workdir runs/voc --submission voc2012 --output results.tgz
"""

import sys

from absl import flags

from encnet_jax import cli

EVAL_FIELDS = {
    "small_object_px": "Score objects of fewer pixels apart from the larger ones.",
    "precise_norm_steps": "Measure batch norms anew on so many training batches.",
}


def main(argv):
    """Parses the flags; writes a report, or an archive for a test server."""

    def define(values):
        cli.define_config(values, argv)
        cli.define_processes(values)
        string = flags.DEFINE_string
        string("workdir", None, "The run to score.", flag_values=values)
        string(
            "checkpoint",
            None,
            "A step, or 'best'. Default: newest.",
            flag_values=values,
        )
        string("split", None, "Default: data.val_split.", flag_values=values)
        protocol = "single, multiscale, release or centre_crop. Default: eval.protocol."
        string("protocol", None, protocol, flag_values=values)
        refine = (
            "'dense', or a file of `encnet_jax.report refine`. Default: as trained."
        )
        string("refine", None, refine, flag_values=values)
        where = "Where prepared data sets lie. Default: as trained."
        string("data_dir", None, where, flag_values=values)
        server = "Label the test split for a server: ade20k or voc2012."
        string("submission", None, server, flag_values=values)
        string("output", None, "The archive of --submission.", flag_values=values)
        for name, meaning in EVAL_FIELDS.items():
            flags.DEFINE_integer(name, None, meaning, 0, flag_values=values)

    values = cli.parse(argv, define, about=__doc__, required=("workdir",))
    from encnet_jax.evaluate import run as run_lib
    from encnet_jax.evaluate.refine import refine_fields

    cli.join_processes(values)

    given = {f"eval.{name}": values[name].value for name in EVAL_FIELDS}
    given["data.data_dir"] = values.data_dir
    given |= refine_fields(values.refine)
    selection = run_lib.Selection(
        checkpoint=values.checkpoint,
        split=values.split,
        protocol=values.protocol,
        config=values.config,
        fields={name: value for name, value in given.items() if value is not None},
    )
    if values.submission:
        run_lib.submit_run(values.workdir, values.submission, values.output, selection)
    else:
        run_lib.evaluate_run(values.workdir, selection)


if __name__ == "__main__":
    sys.exit(cli.run(main, sys.argv))
