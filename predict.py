"""Labels every pixel of images; writes class ids, colours and an overlay for each.

python predict.py --workdir runs/camvid --input photos --output labelled
"""

from encnet_jax import cli
from encnet_jax.commands.predict import main

if __name__ == "__main__":
    cli.start(main)
