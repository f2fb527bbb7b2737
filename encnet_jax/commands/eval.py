"""Scores a checkpoint, or labels a test split for a benchmark server.

python eval.py --workdir runs/camvid --protocol release
python eval.py --workdir runs/mine --images new/images --masks new/masks
python eval.py --workdir runs/voc --submission voc2012 --output results.tgz
"""

from collections.abc import Sequence
from typing import Any

from encnet_jax import cli
from encnet_jax.errors import UserError
from encnet_jax.scoring.protocols import PROTOCOLS

EVAL_FIELDS = {
    "small_object_px": "Also report the scores of objects with fewer pixels than this"
    " number, and of all other objects; 0: off.",
    "precise_norm_steps": "Recompute batch-norm statistics on this number of training"
    " batches; 0: use the statistics of the checkpoint.",
}


def main(argv: Sequence[str]) -> int:
    """Runs the command: writes a report, or an archive for a test server.

    Returns:
        The exit status: 0, or that of the signal that interrupted the command.
    """
    line = cli.CommandLine(argv, __doc__)
    line.config()
    line.processes()
    line.string("workdir", "Folder of the run to score.", required=True)
    line.checkpoint("the newest")
    line.string(
        "split",
        "Split to score; with --images, only the name of the split in the report."
        " Default: data.val_split.",
    )
    line.string(
        "images", "Folder of images to score instead of a split; requires --masks."
    )
    line.string(
        "masks", "Folder of masks for --images; mask values are the run's class ids."
    )
    line.string(
        "protocol",
        f"Evaluation protocol: {', '.join(PROTOCOLS)}. Default: eval.protocol.",
    )
    line.probabilities()
    line.string("data_dir", "Folder of prepared data sets. Default: data.data_dir.")
    line.string(
        "submission",
        "Label the test split for a test server: ade20k, voc2012 or cityscapes.",
    )
    line.string(
        "output",
        "Folder for the report (default: the workdir); with --submission: the archive"
        " to write.",
    )
    for name, meaning in EVAL_FIELDS.items():
        line.integer(name, meaning)
    values = line.parse()
    if bool(values.images) != bool(values.masks):
        raise UserError("expected both --images and --masks, or neither")
    if values.images and values.submission:
        raise UserError(
            "--submission labels a whole test split: leave out --images and --masks"
        )
    from encnet_jax.evaluate import run as run_lib
    from encnet_jax.evaluate.calibrate import temperature_fields
    from encnet_jax.evaluate.loading import Selection
    from encnet_jax.evaluate.refine import refine_fields
    from encnet_jax.pods import allocator, signals

    cli.join_processes(values)
    allocator.keep_freed_memory()

    given: dict[str, Any] = {f"eval.{name}": values[name].value for name in EVAL_FIELDS}
    given |= {"data.data_dir": values.data_dir, **refine_fields(values.refine)}
    given |= temperature_fields(values.temperature)
    selection = Selection(
        checkpoint=values.checkpoint,
        split=values.split,
        protocol=values.protocol,
        config=values.config,
        folders=(values.images, values.masks) if values.images else None,
        fields={name: value for name, value in given.items() if value is not None},
    )
    stop, output = signals.StopRequest(), values.output
    done: Any
    if values.submission:
        done = run_lib.submit_run(
            values.workdir, values.submission, output, selection, stop=stop
        )
    else:
        done = run_lib.evaluate_run(values.workdir, selection, output=output, stop=stop)
    # A signal after the last image changes nothing: the results are complete.
    return signals.exit_status(stop.reason) if done is None else 0
