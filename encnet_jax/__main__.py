"""Runs the console command `encnet` as `python -m encnet_jax`."""

from encnet_jax import commands

commands.run()
