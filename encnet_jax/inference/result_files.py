"""Writes the result files of labelled images."""

import errno
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
from etils import epath
from PIL import Image

from encnet_jax import pictures, storage
from encnet_jax.errors import printable
from encnet_jax.inference import pixels
from encnet_jax.storage import npz_file
from encnet_jax.storage import outputs as output_files

_STRIP = 256  # Number of rows of an overlay that are blended at a time.

# The files of an image are named NAME_END. Ends of files that are always written, and
# of files that are written only with scores:
ENDS = ("ids.png", "colour.png", "overlay.png")
SCORE_ENDS = ("confidence.png", "entropy.png", "top.npz")
# Names of the files that describe all images together.
SUMMARY, CLASSES, LEGEND = "scores.json", "classes.json", "legend.png"


def write(
    folder: epath.Path,
    example: dict,
    found: dict[str, np.ndarray],
    colours: np.ndarray,
    transparent: Sequence[int] = (),
) -> str:
    """Writes the result files of one image.

    The arrays are removed from `example` and `found` to free memory, because the
    generator that yielded these dicts keeps them until the next image is labelled.

    Args:
        folder: folder of the results.
        example: dict with 'image' uint8[H, W, 3] and 'id', the name of the image.
        found: dict of the results, see inference.pixels.
        colours: uint8[C, 3], RGB of each class.
        transparent: ids of classes that are not coloured in the overlay.

    Returns:
        An error message if the image's name is too long for a file name, otherwise ''.
        Other errors are raised.
    """
    try:
        if "/" in example["id"]:
            (folder / example["id"]).parent.mkdir(parents=True, exist_ok=True)
        for name, save in outputs(example.pop("image"), found, colours, transparent):
            save(folder / f"{example['id']}_{name}")
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return storage.describe(error)
    finally:
        found.clear()
    return ""


def outputs(
    image: np.ndarray,
    found: dict[str, np.ndarray],
    colours: np.ndarray,
    transparent: Sequence[int] = (),
) -> Iterator[tuple[str, Callable[[epath.Path], None]]]:
    """Yields (END, function) for each result file NAME_END.

    The function writes the file to a given path. To save memory, the functions create
    the colour images only when the functions are called, and score files come first.

    Args:
        image: uint8[H, W, 3].
        found: dict of the results, see inference.pixels. Score arrays are removed from
            `found` when the functions that write them are yielded.
        colours: uint8[C, 3], RGB of each class.
        transparent: ids of classes that are not coloured in the overlay.
    """
    labels = found["labels"]
    if "top_classes" in found:
        top = found.pop("top_classes"), found.pop("top_probabilities")
        yield "top.npz", partial(_save_top, top=top)
        del top
    for name in {"confidence", "entropy"} & found.keys():
        yield f"{name}.png", partial(_save, array=found.pop(name))
    yield "ids.png", lambda path: pictures.save_index_png(path, labels, colours)
    yield "colour.png", lambda path: _save(path, pictures.colourise(labels, colours))
    yield (
        "overlay.png",
        lambda path: _save(path, _overlay(image, labels, colours, transparent)),
    )


def _overlay(image: np.ndarray, labels: np.ndarray, colours, transparent) -> np.ndarray:
    mixed = np.empty_like(image)
    for top in range(0, len(image), _STRIP):
        rows = slice(top, top + _STRIP)
        mixed[rows] = pictures.overlay(image[rows], labels[rows], colours, transparent)
    return mixed


def _save(path: epath.Path, array: np.ndarray) -> None:
    pictures.save_png(path, Image.fromarray(array))


def _save_top(path: epath.Path, top: tuple[np.ndarray, np.ndarray]) -> None:
    classes, probabilities = top
    arrays = {"classes": classes, "probabilities": probabilities}
    npz_file.write(path, arrays, compressed=True)


def summary(
    name: str, found: dict[str, np.ndarray], class_names: tuple[str, ...]
) -> dict:
    """Returns a JSON-ready summary of an image's scores.

    Args:
        name: name of the image.
        found: results of the image, computed by inference.pixels.largest.
        class_names: names of the classes.

    Returns:
        A dict with these keys:

        - 'image': the name.
        - 'mean_confidence': mean over the pixels, in [0, 1].
        - 'pixels': {class: fraction of the pixels with this label}.
        - 'presence', if the network has an SE branch: {class: probability that the
          class occurs}.
    """
    counts = np.bincount(found["labels"].ravel(), minlength=len(class_names))
    fractions = counts / max(int(counts.sum()), 1)
    described = {
        "image": name,
        "mean_confidence": float(found["confidence"].mean() / pixels.FULL_SCALE),
        "pixels": {
            class_name: float(fraction)
            for class_name, fraction in zip(class_names, fractions, strict=False)
            if fraction
        },
    }
    if "presence" in found:
        presence = map(float, found["presence"])
        described["presence"] = dict(zip(class_names, presence, strict=True))
    return described


def save_summaries(folder: epath.Path, summaries: list[dict]) -> None:
    """Writes scores.json: the summaries of all images, least confident first.

    Args:
        folder: folder of the results.
        summaries: the result of `summary` for each image.
    """
    ordered = sorted(summaries, key=lambda each: each["mean_confidence"])
    path = folder / SUMMARY
    text = json.dumps({"summaries": ordered}, indent=1) + "\n"
    output_files.write(path, "summary of scores", text, "--output")
    least = ", ".join(printable(each["image"]) for each in ordered[:3])
    print(f"scores of all images: {printable(path)}; least confident: {least or '-'}")


def save_classes(
    folder: epath.Path, class_names: tuple[str, ...], colours: np.ndarray
) -> None:
    """Writes classes.json (ids, names and colours of the classes) and legend.png.

    Args:
        folder: folder of the results.
        class_names: names of the classes.
        colours: uint8[C, 3], RGB of each class.
    """
    classes = [
        {"id": i, "name": name, "colour": colour}
        for i, (name, colour) in enumerate(
            zip(class_names, colours.tolist(), strict=True)
        )
    ]
    text = json.dumps({"classes": classes, "not_labelled": 255}, indent=1)
    storage.write_whole(folder / CLASSES, text + "\n")
    pictures.save_png(folder / LEGEND, pictures.legend(class_names, colours))
