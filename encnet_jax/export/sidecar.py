"""The JSON beside an exported file: what its receivers must know."""

import datetime
import importlib

import encnet_jax
from encnet_jax.export.program import Program
from encnet_jax.export.verify import Comparison
from encnet_jax.inference.model import Model

# How long files stay readable, as their makers promise.
READABLE = {
    "stablehlo": "JAX reads exports of versions up to six months older than itself",
    "onnx": "runtimes keep reading older operator sets",
}
PACKAGES = {
    "stablehlo": ("jax",),
    "onnx": ("jax", "onnx", "onnxruntime"),
}


def describe(
    model: Model, program: Program, kind: str, found: Comparison, platforms: tuple
) -> dict:
    """Returns the JSON-ready contents.

    Args:
        model: that was exported.
        program: its exported form.
        kind: 'stablehlo' or 'onnx'.
        found: how the file compares with the network.
        platforms: that the file is meant for; those that were not tried say so.
    """
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
            "pad": "a smaller image with black, to the right and below, its labels cut"
            " to it; the border takes part in the context, so sizes near this are best",
        },
        "outputs": {
            "labels": "uint8 [batch, height, width], places in class_names; 255 where"
            " the scores are not finite",
            "logits": "float32 [batch, h, w, classes] at the network's resolution",
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
            for each in platforms
        },
        "comparison": found._asdict(),
        "versions": {
            "encnet_jax": encnet_jax.__version__,
            # Their distributions' names differ: tensorflow-cpu.
            **{
                name: importlib.import_module(name).__version__
                for name in PACKAGES[kind]
            },
        },
        "readable": READABLE[kind],
        "written": datetime.date.today().isoformat(),
    }


def _of_deep_images(value_range: tuple[float, ...]) -> dict:
    """Returns how images of more than 8 bits become 8, where the run says it."""
    if not value_range:
        return {}
    black, white = value_range
    how = "values of deep grey images become 0 to 255 between these two, then uint8"
    return {"black_and_white": [black, white], "deep_images": how}
