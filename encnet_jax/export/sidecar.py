"""Metadata of an exported file: how to prepare images and interpret the outputs."""

import datetime
import importlib

import encnet_jax
from encnet_jax.export import FORMATS
from encnet_jax.export.program import Program
from encnet_jax.export.verify import Comparison
from encnet_jax.inference.model import Model
from encnet_jax.preprocess import Normaliser


def describe(model: Model, program: Program, kind: str) -> dict:
    """Returns JSON-ready metadata about the inputs, outputs and classes.

    Args:
        model: the network.
        program: the network's exported function.
        kind: name of the format, a key of FORMATS.
    """
    facts = FORMATS.registration(kind).facts
    side = f"multiple of {program.multiple}"
    scale = model.config.data.input_scale
    return {
        "format": kind,
        "inputs": {
            "images": ["batch", program.height or side, program.width or side, 3],
            **_of_free_sizes(program),
            "dtype": "uint8",
            "channels": "red, green, blue in 0..255; normalisation is in the file",
            **_of_deep_images(model.config.data.value_range),
            "resize_by": scale,
            "resize": "both sides, bilinear with antialiasing, before padding; labels"
            " have the resized image's size",
            "pad": "with black, to the right and below, and crop the labels"
            + ("" if program.masked else "; the padding affects the context"),
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
        "normalisation": _normalisation(model.normalise),
        "stride": model.forward.logits_stride,
        "class_names": list(model.class_names),
        "colours": model.colours.tolist(),
        "model": f"{model.config.model.name}-{model.config.model.backbone}",
        "data": model.config.data.name,
        "step": model.step,
        "readable": facts["readable"],
        "written": datetime.date.today().isoformat(),
    }


def compared(kind: str, found: Comparison) -> dict:
    """Returns JSON-ready metadata about the comparison of the file with the network.

    Args:
        kind: name of the format, a key of FORMATS.
        found: result of the comparison.

    Returns:
        A dict with the platforms, the differences, and the versions of packages.
    """
    facts = FORMATS.registration(kind).facts
    return {
        "platforms": {
            each: "compared" if each == found.platform else "not run"
            for each in facts["platforms"]
        },
        "comparison": found._asdict(),
        "versions": {
            "encnet_jax": encnet_jax.__version__,
            # Not importlib.metadata: a distribution can have another name than its
            # module.
            **{
                name: importlib.import_module(name).__version__
                for name in facts["packages"]
            },
        },
    }


def _of_free_sizes(program: Program) -> dict:
    if not program.masked:
        return {}
    return {"sizes": "int32 [batch, 2], height and width of each image on its canvas"}


def _normalisation(normalise: Normaliser) -> dict:
    """Returns the mean and standard deviation of pixels with values in 0..255."""
    return {
        "mean": [round(normalise.divisor * x, 4) for x in normalise.mean],
        "deviation": [round(normalise.divisor * x, 4) for x in normalise.std],
        "where": "in the file",
    }


def _of_deep_images(value_range: tuple[float, ...]) -> dict:
    """Returns metadata on the conversion of images with more than 8 bits per channel.

    Without a `value_range`, the metadata are empty.
    """
    if not value_range:
        return {}
    black, white = value_range
    how = "grey images with more than 8 bits: map black_and_white linearly to 0 and"
    how += " 255, then convert to uint8"
    return {"black_and_white": [black, white], "deep_images": how}
