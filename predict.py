"""Labels photographs: index PNG, colour PNG and overlay for each.

python predict.py --workdir runs/camvid --input photos --output labelled
"""

from encnet_jax import cli
from encnet_jax.commands.predict import main

if __name__ == "__main__":
    cli.start(main)
