"""python -m encnet_jax: the console command where it is not on the PATH."""

from encnet_jax import commands

commands.run()
