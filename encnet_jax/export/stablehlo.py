"""Exports to StableHLO; the same file runs on CPUs, NVIDIA GPUs and TPUs."""

import dataclasses
import importlib.util
import json
from collections.abc import Callable

import jax
from jax import export

from encnet_jax.errors import UserError
from encnet_jax.export import FORMATS
from encnet_jax.export.program import Program
from encnet_jax.models.by_platform import SEVERAL, compiled_for


@FORMATS.register(
    "stablehlo",
    load="encnet_jax.export.stablehlo:load",
    platforms=("cpu", "cuda", "tpu"),
    packages=("jax",),
    readable="JAX reads exports of versions up to six months older than itself",
)
def write(program: Program, about: dict) -> bytes:
    """Returns the contents of a StableHLO file that accepts any number of images.

    Args:
        program: the program to export.
        about: JSON-ready metadata. The file stores the metadata as the function's name,
            because the format has no other field for text.

    Raises:
        UserError: the package flatbuffers is missing.
    """
    if importlib.util.find_spec("flatbuffers") is None:
        raise UserError(
            "the package flatbuffers, which jax.export requires, is not installed:"
            " pip install flatbuffers (requirements/export.txt)"
        )
    platforms = FORMATS.registration("stablehlo").facts["platforms"]
    inputs = program.inputs().values()
    with compiled_for(SEVERAL):
        exported = export.export(jax.jit(program.run), platforms=platforms)(*inputs)
    described = dataclasses.replace(exported, fun_name=json.dumps(about))
    return bytes(described.serialize())


def load(file: str) -> tuple[Callable, str]:
    """Opens a StableHLO file in JAX.

    Returns:
        (run, platform). `run` maps the input arrays to {name: output}; `platform` is,
        for example, 'cuda'.
    """
    import jax
    from jax import export

    with open(file, "rb") as opened:
        run = jax.jit(export.deserialize(bytearray(opened.read())).call)
    # Name of the platform in the file, for example 'cuda' for JAX's backend 'gpu'.
    platform = export.default_export_platform()
    return lambda *inputs: jax.device_get(run(*inputs)), platform
