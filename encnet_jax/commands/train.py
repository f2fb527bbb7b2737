"""Trains a model, or goes on where the same command was stopped.

python train.py --config configs/quickstart.py
python train.py --config configs/camvid.py:fcn --config.train.epochs=40 --workdir runs/a
"""

from collections.abc import Sequence

from encnet_jax import cli


def main(argv: Sequence[str]) -> None:
    """Parses the flags and trains."""
    line = cli.CommandLine(argv, __doc__)
    line.config(required=True)
    line.processes()
    line.string(
        "workdir",
        "Where the run's files go; the same one resumes it. Default: runs/CONFIG.",
    )
    values = line.parse()
    # Imported late, so that a mistyped flag is reported at once.
    from encnet_jax.pods import allocator
    from encnet_jax.train import account, loop

    time_account = account.TimeAccount(age_s=account.process_age_s())
    cli.join_processes(values)
    allocator.keep_freed_memory()
    workdir = values.workdir or f"runs/{cli.config_name(values)}"
    loop.train(values.config, workdir, time_account)
