"""The JSON file next to an exported network: how to prepare images, read outputs."""

import datetime
import importlib

import encnet_jax
from encnet_jax.export import FORMATS
from encnet_jax.export.program import Program
from encnet_jax.export.verify import Comparison
from encnet_jax.inference.model import Model


def describe(model: Model, program: Program, kind: str, found: Comparison) -> dict:
    """Returns the JSON-ready contents.

    Args:
        model: the network.
        program: its exported function.
        kind: a name in FORMATS.
        found: the comparison of the file with the network.
    """
    facts = FORMATS.registration(kind).facts
    scale = model.config.data.input_scale
    return {
        "format": kind,
        "inputs": {
            "images": ["batch", program.height, program.width, 3],
            "dtype": "uint8",
            "channels": "red, green, blue in 0..255; normalisation is in the file",
            **_of_deep_images(model.config.data.value_range),
            "resize_by": scale,
            "resize": "both sides, bilinear with antialiasing, before padding; labels"
            " have the resized image's size",
            "pad": "a smaller image with black, to the right and below, and crop its"
            " labels; the padding affects the context, so use sizes near this one",
        },
        "outputs": {
            "labels": "uint8 [batch, height, width], indices into class_names; 255"
            " where the scores are not finite",
            "logits": "float32 [batch, h, w, classes] at the network's resolution",
            **(
                {
                    "presence": "float32 [batch, classes], probability that a class"
                    " occurs in the image"
                }
                if "presence" in program.outputs
                else {}
            ),
            **(
                {"scores": "float32 [batch, height, width, classes], probabilities"}
                if "scores" in program.outputs
                else {}
            ),
        },
        "class_names": list(model.class_names),
        "colours": model.colours.tolist(),
        "model": f"{model.config.model.name}-{model.config.model.backbone}",
        "data": model.config.data.name,
        "step": model.step,
        "platforms": {
            each: "compared" if each == found.platform else "not run"
            for each in facts["platforms"]
        },
        "comparison": found._asdict(),
        "versions": {
            "encnet_jax": encnet_jax.__version__,
            # Not importlib.metadata: names of distributions can differ from modules.
            **{
                name: importlib.import_module(name).__version__
                for name in facts["packages"]
            },
        },
        "readable": facts["readable"],
        "written": datetime.date.today().isoformat(),
    }


def _of_deep_images(value_range: tuple[float, ...]) -> dict:
    """Returns how images with more than 8 bits are converted, if the run states it."""
    if not value_range:
        return {}
    black, white = value_range
    how = "map values of grey images with more than 8 bits linearly from these two"
    how += " to 0 and 255, then convert to uint8"
    return {"black_and_white": [black, white], "deep_images": how}
