"""Labelling photographs from files."""

import sys
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from etils import epath
from PIL import Image
from tqdm import tqdm

from encnet_jax import pictures
from encnet_jax.data.sources import decode
from encnet_jax.errors import UserError
from encnet_jax.inference import pixels, results
from encnet_jax.inference.model import Model
from encnet_jax.scoring.evaluator import check_finite

_STRIP = 256  # Rows of an overlay that are mixed at a time.


ENDS = ("ids.png", "colour.png", "overlay.png")  # Of the files of an image,
SCORE_ENDS = ("confidence.png", "entropy.png", "top.npz")  # and those of its scores.


def prepare(
    source: str, output: str, *, scores: bool = False, overwrite: bool = False
) -> list[epath.Path]:
    """Lists the images of a file or folder and makes the output folder.

    Args:
        source: an image or a folder of images.
        output: folder, not that of the images; may be in a bucket.
        scores: whether files of scores will be written too.
        overwrite: whether results of an earlier call may be replaced.

    Raises:
        UserError: nothing to do, or output cannot be written to or holds something of
            the user's.
    """
    paths = list_images(epath.Path(source))
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

    All have the image's own size. `ids` is an indexed 8-bit PNG of train ids.

    With `top` also STEM_top.npz, of `classes` uint8[H, W, top], best first, and their
    `probabilities` f16[H, W, top]; and two grey 16-bit PNGs, of which 65535 is 1:
    STEM_confidence.png, the probability of the label, and STEM_entropy.png, the entropy
    of all probabilities over the largest possible.

    Args:
        model: that labels.
        paths: images with different stems.
        output: folder that is there; may be in a bucket.
        top: classes to keep of every pixel; 0 for the label alone.

    Returns:
        Exit status: 0, or 1 if an image could not be labelled (the others are done).
    """
    folder = epath.Path(output)
    pixel_fn = pixels.largest(top) if top else pixels.labels
    broken: list[str] = []
    done = 0
    # Tiles are shares of an image.
    shown = "{l_bar}{bar}| {n:.1f}/{total_fmt} images [{elapsed}<{remaining}]"
    with tqdm(total=len(paths), desc="predict", bar_format=shown) as bar:
        described = results.leaving_out_too_large(
            lambda examples: model.describe(examples, pixel_fn, bar.update),
            _read_all(model, paths, broken),
            broken,
        )
        for example, found in described:
            try:
                check_finite(found["labels"], example["id"])
            except UserError as error:
                broken.append(str(error))
                continue
            _write(folder, example, found, model.colours)
            done += 1
    for line in broken:
        print(f"error: {line}", file=sys.stderr)
    print(
        f"labelled {done} of {len(paths)} images with step {model.step}; see {folder}"
    )
    return 1 if broken else 0


def _write(
    folder: epath.Path, example: dict, found: dict[str, np.ndarray], colours: np.ndarray
) -> None:
    """Writes an image's files and takes its arrays out of both dicts.

    The generators that made the dicts hold them until they have made the next ones.
    """
    for name, write in outputs(example.pop("image"), found, colours):
        write(folder / f"{example['id']}_{name}")
    found.clear()


def outputs(
    image: np.ndarray, found: dict[str, np.ndarray], colours: np.ndarray
) -> Iterator[tuple[str, Callable[[epath.Path], None]]]:
    """Yields (end of a file's name, function that writes it), one at a time.

    Each holds memory only while it is written: an image may have 100 million pixels.
    Scores, the largest, come first and are let go, before pictures of 7 bytes a pixel
    are made.

    Args:
        image: uint8[H, W, 3].
        found: see inference.pixels; loses what was yielded, all but the labels.
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
    with path.open("wb") as file:
        np.savez_compressed(file, classes=classes, probabilities=probabilities)


def list_images(source: epath.Path) -> list[epath.Path]:
    """Returns an image file, or all of a folder's image files, sorted.

    Raises:
        UserError: it does not exist, or holds no images, or two share a stem.
    """
    if not source.exists():
        raise UserError(f"--input {source} does not exist")
    if source.is_file():
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
            f"several images in {source} are called {min(twice)}: rename one"
        )
    return paths


def _read_all(
    model: Model, paths: list[epath.Path], broken: list[str]
) -> Iterator[dict]:
    for path in paths:
        try:
            image = model.read(path)
        except UserError as error:
            broken.append(str(error))
            continue
        yield {"image": image, "id": path.stem}
