"""The reference models of ENCNET_REFERENCE_DIR/golden, rebuilt for the tests."""

import importlib.util
import json
import os
import pathlib
from types import ModuleType

import numpy as np

from encnet_jax import config as config_lib
from encnet_jax.config import defaults
from encnet_jax.models import BACKBONES
from encnet_jax.models.backbones.resnet import BackboneSpec
from encnet_jax.registry import Registration

NAMES = {"encnet": "encnet", "fcn": "fcn", "psp": "pspnet", "deeplab": "deeplabv3"}

# Read when tests are collected, for a test of each reference; conftest's reference_dir
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


def names(holding: str, without: str = "no such key") -> tuple[str, ...]:
    """Returns the names of all references of one kind, for `parametrize`.

    Args:
        holding: a key of the .json of each of them.
        without: a key that none of them has.
    """
    found = []
    for path in sorted((FOLDER / "golden").glob("*.json")):
        reference = json.loads(path.read_text())
        if holding in reference and without not in reference:
            found.append(path.stem)
    return tuple(found) or ABSENT


def release_model(reference: dict, **fields):
    """Returns the resolved model configuration of a reference.

    Args:
        reference: its 'model', 'backbone' ('resnet50s': with the deep stem) and
            'options' ('aux', 'se_loss', 'lateral') decide.
        fields: of `config.model`, changed besides.
    """
    options = reference["options"]
    return model_config(
        "release",
        name=NAMES[reference["model"]],
        backbone=reference["backbone"].removesuffix("s"),
        stem="deep" if reference["backbone"].endswith("s") else "conv7",
        lateral=options.get("lateral", False),
        se_loss=options.get("se_loss", False),
        aux="fcn" if options.get("aux", False) else "none",
        **fields,
    )


def model_config(architecture: str, **fields):
    """Returns `config.model`, resolved, with some fields changed."""
    config = defaults.get_config()
    config.architecture = architecture
    fields = {f"model.{name}": value for name, value in fields.items()}
    config.update_from_flattened_dict(fields)
    return config_lib.resolve(config).model


def add_resnet(monkeypatch, name: str, spec: BackboneSpec) -> None:
    """Registers a residual network until a test ends."""
    channels = tuple(spec.out_channels // 2**i for i in (3, 2, 1, 0))
    facts = {"blocks": spec.blocks, "channels": channels, "bottleneck": spec.bottleneck}
    member = BACKBONES.registration("resnet50").member
    entry = Registration(member, {}, facts)
    monkeypatch.setitem(BACKBONES._entries, name, entry)
