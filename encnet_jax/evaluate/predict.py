"""Labelling photographs from files."""

import sys
from collections.abc import Iterator

import numpy as np
from etils import epath
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from encnet_jax import pictures, storage
from encnet_jax.data import dataset_info
from encnet_jax.errors import UserError
from encnet_jax.evaluate import run as run_lib
from encnet_jax.evaluate.refine import refine_fields
from encnet_jax.pods import parallel

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def predict_files(
    workdir: str,
    source: str,
    output: str,
    *,
    checkpoint: str | None = None,
    refine: str | None = None,
) -> int:
    """Writes STEM_ids.png, STEM_colour.png and STEM_overlay.png for each image.

    All have the image's own size. `ids` is an indexed 8-bit PNG of train ids.

    Args:
        workdir: of the run whose model to use.
        source: an image or a folder of images.
        output: folder, made if missing.
        checkpoint: a step, 'best', or None for the newest.
        refine: see evaluate.refine.refine_fields.

    Returns:
        Exit status: 0, or 1 if an image could not be read (the others are done).

    Raises:
        UserError: nothing to do, no such checkpoint, or output lies in a bucket that
            cannot be written to.
    """
    storage.check_writable(output)
    paths = list_images(epath.Path(source))
    parallel.enable_compilation_cache()
    evaluator, variables, config, step = run_lib.load(
        workdir,
        run_lib.Selection(checkpoint=checkpoint, fields=refine_fields(refine)),
        whole_images=True,
    )
    colours = dataset_info(config.data).colours
    folder = epath.Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    broken: list[str] = []
    examples = _read_all(paths, broken)
    done = 0
    with tqdm(total=len(paths), desc="predict", unit="image") as bar:
        for example, ids in evaluator.predict(variables, examples):
            name, image = example["id"], example["image"]
            pictures.save_index_png(folder / f"{name}_ids.png", ids, colours)
            for kind, picture in (
                ("colour", pictures.colourise(ids, colours)),
                ("overlay", pictures.overlay(image, ids, colours)),
            ):
                path = folder / f"{name}_{kind}.png"
                pictures.save_png(path, Image.fromarray(picture))
            done += 1
            bar.update()
    for line in broken:
        print(f"error: {line}", file=sys.stderr)
    print(f"labelled {done} of {len(paths)} images with step {step}; see {folder}")
    return 1 if broken else 0


def list_images(source: epath.Path) -> list[epath.Path]:
    """Returns the image files that a file or folder name stands for, sorted.

    Raises:
        UserError: it does not exist, or holds no images, or two share a stem.
    """
    if not source.exists():
        raise UserError(f"--input {source} does not exist")
    if source.is_file():
        return [source]
    paths = sorted(p for p in source.iterdir() if p.suffix.lower() in SUFFIXES)
    if not paths:
        raise UserError(f"no images in {source}; known suffixes: {', '.join(SUFFIXES)}")
    stems = [p.stem for p in paths]
    twice = {s for s in stems if stems.count(s) > 1}
    if twice:
        raise UserError(
            f"several images in {source} are called {min(twice)}: rename one"
        )
    return paths


def _read_all(paths: list[epath.Path], broken: list[str]) -> Iterator[dict]:
    for path in paths:
        try:
            with path.open("rb") as file, Image.open(file) as opened:
                image = np.asarray(opened.convert("RGB"))
        except (OSError, UnidentifiedImageError, SyntaxError) as error:
            broken.append(f"{path}: not a readable image ({error})")
            continue
        yield {"image": image, "id": path.stem}
