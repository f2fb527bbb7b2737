"""The reference models of ENCNET_REFERENCE_DIR/golden, rebuilt for the tests."""

import importlib.util
import json
import os
import pathlib
from types import ModuleType

import numpy as np

from encnet_jax import config as config_lib
from encnet_jax.config import defaults

NAMES = {"encnet": "encnet", "fcn": "fcn", "psp": "pspnet", "deeplab": "deeplabv3"}

# Read when tests are collected, for one test each reference; conftest's reference_dir
# skips or fails where it is absent.
FOLDER = pathlib.Path(
    os.environ.get("ENCNET_REFERENCE_DIR", pathlib.Path(__file__).parents[2] / "shared")
)
ABSENT = ("no reference",)


def load(reference_dir: pathlib.Path, name: str) -> tuple[dict, dict[str, np.ndarray]]:
    """Returns (what NAME.json holds, what NAME.npz holds)."""
    folder = reference_dir / "golden"
    with np.load(folder / f"{name}.npz") as arrays:
        return json.loads((folder / f"{name}.json").read_text()), dict(arrays)


def seeded(reference_dir: pathlib.Path, file: str = "seeded.py") -> ModuleType:
    """Returns the module that rebuilds weights, images and labels."""
    path = reference_dir / "golden" / file
    spec = importlib.util.spec_from_file_location("seeded", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def release_model(reference: dict, **fields):
    """Returns the resolved model configuration of a reference."""
    return model_config(
        "release",
        name=NAMES[reference["model"]],
        stem="deep" if reference["backbone"].endswith("s") else "conv7",
        lateral=reference["options"].get("lateral", False),
        **fields,
    )


def model_config(architecture: str, **fields):
    """Returns `config.model`, resolved, with some fields changed."""
    config = defaults.get_config()
    config.architecture = architecture
    config.model.update(fields)
    return config_lib.resolve(config).model
