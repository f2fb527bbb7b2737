"""Imports and exports PyTorch weights: `python -m encnet_jax.torch_weights --help`."""

from encnet_jax.torch_weights.families import find, known, recognise
from encnet_jax.torch_weights.files import read_state_dict, write_state_dict
from encnet_jax.torch_weights.start import initialise
from encnet_jax.torch_weights.state_dicts import convert, to_state_dict

__all__ = [
    "convert",
    "find",
    "initialise",
    "known",
    "read_state_dict",
    "recognise",
    "to_state_dict",
    "write_state_dict",
]
