"""Runs the console command `encnet`, for `python -m encnet_jax`."""

from encnet_jax import commands

commands.run()
