"""Memory and speed of TPU chips, and devices of TPU slices as compilation targets."""

import os
import re
from typing import NamedTuple

import jax
from jax.experimental import topologies

from encnet_jax.errors import UserError, reason


class Chip(NamedTuple):
    """Memory and speed of one TPU chip.

    Attributes:
        hbm_bytes: bytes of memory (HBM) that the compiler allows a program to use.
        flops: bfloat16 operations per second.
        bytes_per_s: bandwidth of the HBM.
        config_name: libtpu's name for the chip configuration in which each chip is one
            device.
    """

    hbm_bytes: float
    flops: float
    bytes_per_s: float
    config_name: str


# Sources: the speeds are from cloud.google.com/tpu/docs (one page per generation); the
# HBM limits are from libtpu's messages for programs that do not fit.
CHIPS = {
    "v4": Chip(30.75 * 2**30, 275e12, 1228e9, "megacore"),
    "v5e": Chip(15.75 * 2**30, 197e12, 819e9, "default"),
    "v5p": Chip(95.74 * 2**30, 459e12, 2765e9, "megacore"),
    "v6e": Chip(31.25 * 2**30, 918e12, 1640e9, "default"),
}


def open_topology(name: str) -> tuple[Chip, list]:
    """Returns the Chip and the devices of a TPU slice, as compilation targets.

    The slice need not be connected to this machine. Programs can be compiled for the
    devices, but not run.

    Args:
        name: chip and shape of the slice, for example 'v5e:2x4' or 'v4:2x2x1'.

    Raises:
        UserError: the chip or the shape does not exist, or libtpu is not installed.
    """
    generation, _, shape = name.partition(":")
    if generation not in CHIPS or not re.fullmatch(r"\d+x\d+(x\d+)?", shape):
        raise UserError(
            f"--topology is {name!r}; expected CHIP:SHAPE such as v5e:2x4 or v4:2x2x1,"
            f" where CHIP is one of: {', '.join(CHIPS)}"
        )
    try:
        import libtpu  # noqa: F401  (compiles for TPUs)
    except ImportError:
        raise UserError(
            "the package libtpu, the compiler for TPUs, is not installed; install the"
            f" version for the installed JAX: pip install 'jax[tpu]=={jax.__version__}'"
            " (see requirements/plan.txt)"
        ) from None
    # Otherwise libtpu queries a metadata server, and cannot be loaded by two processes.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    # JAX can store programs for absent chips in its cache, but cannot load them.
    jax.config.update("jax_enable_compilation_cache", False)
    chip = CHIPS[generation]
    try:
        topology = topologies.get_topology_desc(
            platform="tpu", topology_name=name, chip_config_name=chip.config_name
        )
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        raise UserError(
            f"--topology {name} is not available: {reason(error)}"
        ) from None
    return chip, list(topology.devices)
