"""StableHLO by jax.export: one file for CPUs, NVIDIA GPUs and TPUs."""

import importlib.util

import jax
import jax.numpy as jnp
from jax import export

from encnet_jax.errors import UserError
from encnet_jax.export.program import Program

PLATFORMS = ("cpu", "cuda", "tpu")


def write(program: Program) -> bytes:
    """Returns the contents of a file that runs a program for any number of images.

    Raises:
        UserError: the package flatbuffers is missing.
    """
    if importlib.util.find_spec("flatbuffers") is None:
        raise UserError(
            "the package flatbuffers, which jax.export requires, is not installed:"
            " pip install flatbuffers (requirements/export.txt)"
        )
    (batch,) = export.symbolic_shape("batch")
    images = jax.ShapeDtypeStruct((batch, program.height, program.width, 3), jnp.uint8)
    exported = export.export(jax.jit(program.run), platforms=PLATFORMS)(images)
    return bytes(exported.serialize())
