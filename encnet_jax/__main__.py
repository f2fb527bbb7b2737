"""python -m encnet_jax: the console command where it is not on the PATH."""

import sys

from encnet_jax import commands

sys.exit(commands.run())
