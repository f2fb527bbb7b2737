"""Trains a model, or goes on where the same command was stopped.

python train.py --config configs/quickstart.py
python train.py --config configs/camvid.py:fcn --config.train.epochs=40 --workdir runs/a
"""

from absl import flags

from encnet_jax import cli


def main(argv):
    """Parses the flags and trains."""

    def define(values):
        cli.define_config(values, argv)
        cli.define_processes(values)
        flags.DEFINE_string(
            "workdir",
            None,
            "Where the run's files go; the same one resumes it. Default: runs/CONFIG.",
            flag_values=values,
        )

    values = cli.parse(argv, define, about=__doc__, required=("config",))
    # Imported late, so that a mistyped flag is told at once.
    from encnet_jax.train import account, loop

    time_account = account.TimeAccount(age_s=account.process_age_s())
    cli.join_processes(values)

    workdir = values.workdir or f"runs/{cli.config_name(values)}"
    loop.train(values.config, workdir, time_account)


if __name__ == "__main__":
    cli.start(main)
