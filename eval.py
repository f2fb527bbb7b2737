"""Scores a checkpoint, or labels a test split for a benchmark's server.

python eval.py --workdir runs/camvid --protocol release
python eval.py --workdir runs/voc --submission voc2012 --output results.tgz
"""

from encnet_jax import cli
from encnet_jax.commands.eval import main

if __name__ == "__main__":
    cli.start(main)
