"""Labels image files."""

import errno
import json
import sys
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from etils import epath
from PIL import Image
from tqdm import tqdm

from encnet_jax import pictures, storage
from encnet_jax.data.sources import decode
from encnet_jax.errors import UserError, printable
from encnet_jax.inference import pixels, results
from encnet_jax.inference.model import Model
from encnet_jax.scoring.evaluator import check_finite
from encnet_jax.storage import outputs as output_files

_STRIP = 256  # Rows of an overlay that are blended at a time.

# Ends of the names of an image's files: always, and with scores.
ENDS = ("ids.png", "colour.png", "overlay.png")
SCORE_ENDS = ("confidence.png", "entropy.png", "top.npz")
SUMMARY = "scores.json"  # One file for all images.


def prepare(
    source: str, output: str, *, scores: bool = False, overwrite: bool = False
) -> list[epath.Path]:
    """Lists the images of a file or folder and creates the output folder.

    Args:
        source: an image or a folder of images.
        output: folder, not that of the images; may be in an object store.
        scores: whether score files will be written, too.
        overwrite: whether results of an earlier call may be replaced.

    Raises:
        UserError: there are no images, or output cannot be written to or contains
            files that would be replaced.
    """
    paths = list_images(epath.Path(source))
    if scores:
        file = epath.Path(output) / SUMMARY
        output_files.check_replaceable(file, "summary of scores", "--output")
    ends = ENDS + SCORE_ENDS if scores else ENDS
    results.prepare_folder(output, paths, ends, overwrite=overwrite)
    return paths


def predict_files(
    model: Model,
    paths: list[epath.Path],
    output: str,
    *,
    top: int = 0,
) -> int:
    """Writes STEM_ids.png, STEM_colour.png and STEM_overlay.png for each image.

    All have the size of the image. `ids` is an indexed 8-bit PNG of train ids.

    With `top` also STEM_top.npz, with `classes` uint8[H, W, top], best first, and their
    `probabilities` f16[H, W, top]; and two grey 16-bit PNGs in which 65535 means 1:
    STEM_confidence.png, the probability of the label, and STEM_entropy.png, the entropy
    of all probabilities divided by its maximum.

    And SUMMARY, a JSON file of all images, see `summary`; the least confident ones,
    candidates for labelling by hand, come first.

    Args:
        model: labels the images.
        paths: images with different stems.
        output: existing folder; may be in an object store.
        top: number of classes to save for every pixel; 0 for the label only.

    Returns:
        Exit status: 0, or 1 if an image could not be labelled (the others are done).
    """
    folder = epath.Path(output)
    pixel_fn = pixels.largest(top) if top else pixels.labels
    broken: dict[str, str] = {}  # A line for each image that is not labelled.
    summaries: list[dict] = []
    done: set[str] = set()
    # A tile counts as a fraction of its image.
    shown = "{l_bar}{bar}| {n:.1f}/{total_fmt} images [{elapsed}<{remaining}]"
    bar = tqdm(total=len(paths), desc="predict", bar_format=shown, disable=None)
    with bar:
        described = results.leaving_out_too_large(
            lambda examples: model.describe(examples, pixel_fn, bar.update),
            _read_all(model, paths, broken),
            broken,
        )
        for example, found in described:
            try:
                check_finite(found["labels"], example["id"])
            except UserError as error:
                broken[example["id"]] = str(error)
                continue
            if top:
                summaries.append(summary(example["id"], found, model.class_names))
            try:
                _write(folder, example, found, model.colours)
            except OSError as error:
                # Too long a name is an error of this image only.
                if error.errno != errno.ENAMETOOLONG:
                    raise
                broken[example["id"]] = storage.describe(error)
                continue
            done.add(example["id"])
    if top:
        summaries = [each for each in summaries if each["image"] in done]
        _save_summaries(folder, summaries)
    for path in paths:
        if path.stem not in done | broken.keys():
            broken[path.stem] = f"{path}: was left out; label it separately"
    for line in broken.values():
        print(f"error: {printable(line)}", file=sys.stderr)
    print(
        f"labelled {len(done)} of {len(paths)} images with step {model.step}; see"
        f" {printable(folder)}"
    )
    return 1 if broken else 0


def summary(
    name: str, found: dict[str, np.ndarray], class_names: tuple[str, ...]
) -> dict:
    """Returns a JSON-ready summary of an image's scores.

    Args:
        name: of the image.
        found: see inference.pixels.largest.
        class_names: one for each class.

    Returns:
        'image', 'mean_confidence' in [0, 1], 'pixels' {class: fraction of the pixels
        with its label}; with an SE branch also 'presence' {class: probability in [0, 1]
        that it occurs}.
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


def _save_summaries(folder: epath.Path, summaries: list[dict]) -> None:
    ordered = sorted(summaries, key=lambda each: each["mean_confidence"])
    path = folder / SUMMARY
    text = json.dumps({"summaries": ordered}, indent=1) + "\n"
    output_files.write(path, "summary of scores", text, "--output")
    least = ", ".join(printable(each["image"]) for each in ordered[:3])
    print(f"scores of all images: {printable(path)}; least confident: {least or '-'}")


def _write(
    folder: epath.Path, example: dict, found: dict[str, np.ndarray], colours: np.ndarray
) -> None:
    """Writes an image's files and removes its arrays from both dicts.

    The generators that made the dicts keep them until the next ones are made.
    """
    for name, write in outputs(example.pop("image"), found, colours):
        write(folder / f"{example['id']}_{name}")
    found.clear()


def outputs(
    image: np.ndarray, found: dict[str, np.ndarray], colours: np.ndarray
) -> Iterator[tuple[str, Callable[[epath.Path], None]]]:
    """Yields (end of a file's name, function that writes it), one at a time.

    An image may have 100 million pixels, so each file uses memory only while it is
    written. Scores, the largest, come first and are freed before the colour images are
    made, which need 7 bytes a pixel.

    Args:
        image: uint8[H, W, 3].
        found: see inference.pixels; arrays are removed when yielded, except the labels.
        colours: uint8[C, 3].
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
    yield "overlay.png", lambda path: _save(path, _overlay(image, labels, colours))


def _overlay(image: np.ndarray, labels: np.ndarray, colours) -> np.ndarray:
    mixed = np.empty_like(image)
    for top in range(0, len(image), _STRIP):
        rows = slice(top, top + _STRIP)
        mixed[rows] = pictures.overlay(image[rows], labels[rows], colours)
    return mixed


def _save(path: epath.Path, array: np.ndarray) -> None:
    pictures.save_png(path, Image.fromarray(array))


def _save_top(path: epath.Path, top: tuple[np.ndarray, np.ndarray]) -> None:
    classes, probabilities = top
    save = partial(np.savez_compressed, classes=classes, probabilities=probabilities)
    storage.write_whole(path, save)


def list_images(source: epath.Path) -> list[epath.Path]:
    """Returns an image file, or all of a folder's image files, sorted.

    Raises:
        UserError: the source does not exist or has no images, or two share a stem.
    """
    if not source.exists():
        raise UserError(f"--input {source} does not exist")
    if not source.is_dir():
        storage.check_regular(source)
        return [source]
    paths = decode.list_images(source)
    if not paths:
        raise UserError(
            f"no images in {source}; known suffixes: {', '.join(decode.SUFFIXES)}"
        )
    stems = [p.stem for p in paths]
    twice = {s for s in stems if stems.count(s) > 1}
    if twice:
        raise UserError(
            f"several images in {source} have the name {min(twice)}: rename one"
        )
    return paths


def _read_all(
    model: Model, paths: list[epath.Path], broken: dict[str, str]
) -> Iterator[dict]:
    for path in paths:
        try:
            image = model.read(path)
        except UserError as error:
            broken[path.stem] = str(error)
            continue
        except MemoryError:
            # Raised here, it would end this generator and skip all later images.
            broken[path.stem] = f"{path}: does not fit into memory"
            continue
        yield {"image": image, "id": path.stem}
