"""Labelling photographs from files."""

import sys
from collections.abc import Iterator
from functools import partial

import jax
from etils import epath
from PIL import Image
from tqdm import tqdm

from encnet_jax import pictures, storage
from encnet_jax.data import dataset_info, decode
from encnet_jax.errors import UserError
from encnet_jax.evaluate import outputs
from encnet_jax.evaluate import run as run_lib
from encnet_jax.evaluate.refine import refine_fields
from encnet_jax.pods import parallel
from encnet_jax.scoring.evaluator import check_finite

ENDS = ("ids.png", "colour.png", "overlay.png")  # Of the files of an image.


def predict_files(
    workdir: str,
    source: str,
    output: str,
    *,
    checkpoint: str | None = None,
    refine: str | None = None,
    overwrite: bool = False,
    batch_size: int | None = None,
) -> int:
    """Writes STEM_ids.png, STEM_colour.png and STEM_overlay.png for each image.

    All have the image's own size. `ids` is an indexed 8-bit PNG of train ids.

    Args:
        workdir: of the run whose model to use.
        source: an image or a folder of images.
        output: folder, made if missing.
        checkpoint: a step, 'best', or None for the newest.
        refine: see evaluate.refine.refine_fields.
        overwrite: whether results of an earlier call may be replaced.
        batch_size: images at a time; None for one on each device.

    Returns:
        Exit status: 0, or 1 if an image could not be labelled (the others are done).

    Raises:
        UserError: nothing to do, no such checkpoint, or output cannot be written to or
            holds something of the user's.
    """
    paths = list_images(epath.Path(source))
    folder = outputs.prepare_folder(output, paths, ENDS, overwrite=overwrite)
    parallel.enable_compilation_cache()
    fields = refine_fields(refine)
    fields["eval.batch_size"] = batch_size or jax.local_device_count()
    evaluator, variables, config, step = run_lib.load(
        workdir,
        run_lib.Selection(checkpoint=checkpoint, fields=fields),
        whole_images=True,
    )
    colours = dataset_info(config.data).colours
    broken: list[str] = []
    described = outputs.leaving_out_too_large(
        partial(evaluator.predict, variables),
        _read_all(paths, decode.image_rules(config.data), broken),
        broken,
    )
    done = 0
    with tqdm(total=len(paths), desc="predict", unit="image") as bar:
        for example, ids in described:
            name, image = example["id"], example["image"]
            try:
                check_finite(ids, name)
            except UserError as error:
                broken.append(str(error))
                continue
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
    paths = decode.list_images(source)
    if not paths:
        known = ", ".join(decode.SUFFIXES)
        raise UserError(f"no images in {source}; known suffixes: {known}")
    stems = [p.stem for p in paths]
    twice = {s for s in stems if stems.count(s) > 1}
    if twice:
        raise UserError(
            f"several images in {source} are called {min(twice)}: rename one"
        )
    return paths


def _read_all(
    paths: list[epath.Path], rules: decode.ImageRules, broken: list[str]
) -> Iterator[dict]:
    for path in paths:
        try:
            image = decode.decode_image(storage.read_bytes(path), str(path), rules)
        except UserError as error:
            broken.append(str(error))
            continue
        yield {"image": image, "id": path.stem}
