"""Trains a model; the same command resumes an interrupted run.

python train.py --config configs/quickstart.py
python train.py --config configs/camvid.py:fcn --config.train.epochs=40 --workdir runs/a
"""

from encnet_jax import cli
from encnet_jax.commands.train import main

if __name__ == "__main__":
    cli.start(main)
