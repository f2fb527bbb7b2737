"""The reference networks of ENCNET_REFERENCE_DIR/golden/duc, rebuilt for the tests."""

import dataclasses
import importlib.util
import json
import os
import pathlib
import re
from types import ModuleType

import numpy as np
import reference_models

from encnet_jax import config as config_lib
from encnet_jax.models.backbones.resnet import BackboneSpec, Block, Stem, specs
from encnet_jax.models.heads.duc import depth_to_space

# Read when tests are collected, for one test each network; conftest's reference_dir
# skips or fails where it is absent.
FOLDER = pathlib.Path(
    os.environ.get("ENCNET_REFERENCE_DIR", pathlib.Path(__file__).parents[2] / "shared")
)


@dataclasses.dataclass(frozen=True)
class Reference:
    """One network: what its .json and .npz hold, by the names of its README."""

    name: str
    json: dict
    arrays: dict[str, np.ndarray]
    seeded: ModuleType

    @property
    def options(self) -> dict:
        return self.json["options"]

    @property
    def num_classes(self) -> int:
        return self.options["label_num"]

    def checkpoint(self) -> dict[str, np.ndarray]:
        """Returns {'arg:NAME' or 'aux:NAME': f32 array in MXNet's layout}."""
        return self.seeded.seeded_checkpoint(self.json["checkpoint"])

    def image(self) -> np.ndarray:
        """Returns f32[1, H, W, 3] less the mean, padded with it to multiples of 8."""
        image = self.seeded.seeded_image(**self.json["input"]).transpose(0, 2, 3, 1)
        rows, columns = (-side % 8 for side in image.shape[1:3])
        return np.pad(image, ((0, 0), (0, rows), (0, columns), (0, 0)))

    def placed(self, raw: np.ndarray) -> np.ndarray:
        """Returns f32[B, H, W, L] of [B, L * r * r, h, w], see the README."""
        block = self.options["ds_rate"] // self.options["cell_width"]
        return np.asarray(depth_to_space(raw.transpose(0, 2, 3, 1), block))

    def backbone(self) -> BackboneSpec:
        """Returns its blocks and width; by default those of ResNet-101."""
        o = self.options
        if "rates4" not in o:
            return specs()["resnet101"]
        blocks = (o["blocks2"], o["blocks3"], len(o["rates4"]), len(o["rates5"]))
        return BackboneSpec(blocks, True, o["width"])

    def model_config(self):
        """Returns `config.model`; its backbone is to be found as `name`."""
        o = self.options
        spec = self.backbone()
        fields = {"name": "duc", "backbone": "resnet101", "stem_width": spec.width}
        m = reference_models.model_config("duc_released", **fields)
        step, branches = o["aspp_stride"], o["aspp"]
        rates = (o.get("rates4"), o.get("rates5"))
        return config_lib.replaced(
            m,
            {
                "backbone": self.name,
                "dilation": _as_text(rates) if all(rates) else "hdc_released",
                "duc.cell": o["cell_width"],
                "duc.rates": tuple(step * i for i in range(1, branches + 1)),
            },
        )


def networks(key: str = "checkpoint") -> list[pathlib.Path]:
    """Returns the .json of every network in the folder that has such an entry."""
    found = sorted((FOLDER / "golden/duc").glob("*.json"))
    return [path for path in found if key in json.loads(path.read_text())]


def load(path: pathlib.Path) -> Reference:
    """Reads a network's .json and the .npz beside it."""
    spec = importlib.util.spec_from_file_location(
        "seeded_duc", path.with_name("seeded_duc.py")
    )
    seeded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(seeded)
    with np.load(path.with_suffix(".npz")) as arrays:
        return Reference(path.stem, json.loads(path.read_text()), dict(arrays), seeded)


def is_inner(module, method_name: str) -> bool:
    """Tells whether a module's output may be one of a reference's inner values."""
    layer = getattr(module, "name", None) or ""
    return method_name == "__call__" and (
        isinstance(module, Block | Stem) or layer.startswith("layer")
    )


def inner_value(captured: dict, name: str):
    """Returns [B, h, w, C] from what `is_inner` captured of the backbone, or None.

    Args:
        captured: intermediates of the backbone.
        name: of the reference's array, such as 'res4_1_relu_output'.
    """
    stem = re.fullmatch(r"conv1_(\d)_3x3\S*/relu_output", name)
    block = re.fullmatch(r"res(\d)_(\d+)_relu_output", name)
    if stem:
        (value,) = captured["stem"][f"layer{stem[1]}"]["__call__"]
    elif block:
        path = f"stage{int(block[1]) - 1}_block{int(block[2]):02d}"
        (value,) = captured[path]["__call__"]
    else:
        assert name == "pool1_3x3_s2_output", name
        (value,) = captured["stem"]["__call__"]
    return value


def _as_text(rates) -> str:
    return "/".join(",".join(map(str, stage)) for stage in rates)
