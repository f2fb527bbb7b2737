"""The reference networks of ENCNET_REFERENCE_DIR/golden/duc, rebuilt for the tests."""

import dataclasses
import importlib.util
import json
import pathlib
from types import ModuleType

import numpy as np


@dataclasses.dataclass(frozen=True)
class Reference:
    """One network: what its .json and .npz hold, by the names of its README."""

    name: str
    json: dict
    arrays: dict[str, np.ndarray]
    seeded: ModuleType

    def checkpoint(self) -> dict[str, np.ndarray]:
        """Returns {'arg:NAME' or 'aux:NAME': f32 array in MXNet's layout}."""
        return self.seeded.seeded_checkpoint(self.json["checkpoint"])

    @property
    def options(self) -> dict:
        return self.json["options"]

    @property
    def num_classes(self) -> int:
        return self.options["label_num"]


def networks(reference_dir: pathlib.Path) -> list[pathlib.Path]:
    """Returns the .json of every network that the folder holds."""
    found = sorted((reference_dir / "golden/duc").glob("*.json"))
    return [path for path in found if "checkpoint" in json.loads(path.read_text())]


def load(path: pathlib.Path) -> Reference:
    """Reads a network's .json and the .npz beside it."""
    spec = importlib.util.spec_from_file_location(
        "seeded_duc", path.with_name("seeded_duc.py")
    )
    seeded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(seeded)
    with np.load(path.with_suffix(".npz")) as arrays:
        return Reference(path.stem, json.loads(path.read_text()), dict(arrays), seeded)
