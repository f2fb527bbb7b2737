"""Trains a model; the same command resumes an interrupted run.

python train.py --config configs/quickstart.py
python train.py --config configs/camvid.py:fcn --config.train.epochs=40 --workdir runs/a
"""

from collections.abc import Sequence

from encnet_jax import cli


def main(argv: Sequence[str]) -> None:
    """Runs the command: trains a model."""
    line = cli.CommandLine(argv, __doc__)
    line.config(required=True)
    line.processes()
    line.string(
        "workdir",
        "Folder of the run; a run in this folder is resumed. Default: runs/CONFIG.",
    )
    line.integer(
        "extend",
        "Number of steps to add to the length of a saved run, finished or not. The"
        " added steps use the learning-rate schedule of the new length.",
        0,
    )
    values = line.parse()
    # Imported late: a mistyped flag is reported before JAX is loaded.
    from encnet_jax.pods import allocator
    from encnet_jax.train import account, loop

    time_account = account.TimeAccount(age_s=account.process_age_s())
    cli.join_processes(values)
    allocator.keep_freed_memory()
    workdir = values.workdir or f"runs/{cli.config_name(values)}"
    loop.train(values.config, workdir, time_account, extend=values.extend)
