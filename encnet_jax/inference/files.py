"""Labels image files and writes the results to files."""

import errno
import glob
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
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
from encnet_jax.inference.result import ids_of
from encnet_jax.scoring.evaluator import check_finite
from encnet_jax.storage import lookup, npz_file
from encnet_jax.storage import outputs as output_files

_KNOWN = "JPEG, PNG, WebP, BMP, GIF or TIFF"
_STRIP = 256  # Number of rows of an overlay that are blended at a time.

# The files of an image are named NAME_END. Ends of files that are always written, and
# of files that are written only with scores:
ENDS = ("ids.png", "colour.png", "overlay.png")
SCORE_ENDS = ("confidence.png", "entropy.png", "top.npz")
# Names of the files that describe all images together.
SUMMARY, CLASSES, LEGEND = "scores.json", "classes.json", "legend.png"


def prepare(
    sources: Sequence[str],
    output: str,
    *,
    recursive: bool = False,
    scores: bool = False,
    overwrite: bool = False,
) -> dict[str, epath.Path]:
    """Lists the images of files and folders and creates the output folder.

    Args:
        sources: images, folders of images, or patterns such as 'photos/*.jpg'.
        output: folder for the results, different from the images' folders; may be in an
            object store.
        recursive: whether to read subfolders, too.
        scores: whether score files will be written, too.
        overwrite: whether results of an earlier call may be replaced.

    Returns:
        {name: path of the image}. The name is the path of the image relative to its
        source, without the suffix; the file names of its results start with this name.

    Raises:
        UserError: there are no images, output cannot be written to, or files in output
            would be replaced.
    """
    paths = list_inputs(sources, recursive=recursive)
    for name, kind in ((CLASSES, "list of classes"), (LEGEND, "picture")):
        output_files.check_replaceable(epath.Path(output) / name, kind, "--output")
    if scores:
        file = epath.Path(output) / SUMMARY
        output_files.check_replaceable(file, "summary of scores", "--output")
    ends = ENDS + SCORE_ENDS if scores else ENDS
    results.prepare_folder(output, paths, ends, overwrite=overwrite)
    return paths


def predict_files(
    model: Model,
    paths: dict[str, epath.Path],
    output: str,
    *,
    top: int = 0,
    transparent: Sequence[str] = (),
) -> int:
    """Writes NAME_ids.png, NAME_colour.png and NAME_overlay.png for each image.

    These files have the size of the image. NAME_ids.png is an indexed 8-bit PNG of
    class ids. CLASSES and LEGEND list ids, names and colours of the classes.

    If `top` is set, these files are also written: NAME_top.npz with `classes`
    uint8[H, W, top], best first, and their `probabilities` f16[H, W, top]; two grey
    16-bit PNGs in which 65535 means 1, NAME_confidence.png (probability of the label)
    and NAME_entropy.png (entropy of all probabilities, divided by its maximum); and
    SUMMARY, a JSON file of all images, see `summary`. It lists the least confident
    images first: they are candidates for manual labelling.

    Args:
        model: the network.
        paths: result of `prepare`.
        output: existing folder; may be in an object store.
        top: number of most probable classes to save for every pixel; 0 writes no
            scores.
        transparent: names of classes whose pixels overlays do not colour.

    Returns:
        Exit status: 0, or 1 if some images could not be labelled.
    """
    folder = epath.Path(output)
    clear = ids_of(transparent, model.class_names)
    pixel_fn = pixels.largest(top) if top else pixels.labels
    model.expect(paths.values())
    broken: dict[str, str] = {}  # Name of an image that failed -> message.
    done: dict[str, dict] = {}  # Name of a labelled image -> summary of its scores.
    # A tile counts as a fraction of its image.
    shown = "{l_bar}{bar}| {n:.0f}/{total_fmt} images [{elapsed}<{remaining}]"
    bar = tqdm(total=len(paths), desc="predict", bar_format=shown, disable=None)
    with bar:
        described = results.leaving_out_too_large(
            lambda examples: model.describe(examples, pixel_fn, bar.update),
            _read_all(model, paths, broken),
            broken,
            # Less padding: an image that did not fit may have had a larger canvas.
            smaller=lambda: model.expect(()),
        )
        for example, found in described:
            name = example["id"]
            try:
                check_finite(found["labels"], name)
            except UserError as error:
                broken[name] = str(error)
                continue
            described_image = summary(name, found, model.class_names) if top else {}
            problem = _write(folder, example, found, model.colours, clear)
            if problem:
                broken[name] = problem
            else:
                done[name] = described_image
    if done:
        _save_classes(folder, model)
    if top:
        _save_summaries(folder, list(done.values()))
    _report_broken(broken, {n: path for n, path in paths.items() if n not in done})
    print(
        f"labelled {len(done)} of {len(paths)} images with step {model.step}; see"
        f" {printable(folder)}"
    )
    return 1 if broken else 0


def _report_broken(broken: dict[str, str], missing: dict[str, epath.Path]) -> None:
    """Prints one error line for every image that was not labelled.

    Args:
        broken: {name of the image: message}.
        missing: {name of the image: path} of all images without results. Those without
            a message get a default message.
    """
    for name, path in missing.items():
        broken.setdefault(name, f"{path}: was left out; label this image separately")
    for line in broken.values():
        print(f"error: {printable(line)}", file=sys.stderr)


def summary(
    name: str, found: dict[str, np.ndarray], class_names: tuple[str, ...]
) -> dict:
    """Returns a JSON-ready summary of an image's scores.

    Args:
        name: name of the image.
        found: results of the image, computed by inference.pixels.largest.
        class_names: names of the classes.

    Returns:
        A dict with the keys 'image' (the name); 'mean_confidence' in [0, 1]; 'pixels',
        {class: fraction of pixels with this label}; and, if the network has an SE
        branch, 'presence', {class: probability in [0, 1] that the class occurs}.
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


def _save_classes(folder: epath.Path, model: Model) -> None:
    """Writes CLASSES and LEGEND with the ids, names and colours of the classes."""
    classes = [
        {"id": i, "name": name, "colour": colour}
        for i, (name, colour) in enumerate(
            zip(model.class_names, model.colours.tolist(), strict=True)
        )
    ]
    text = json.dumps({"classes": classes, "not_labelled": 255}, indent=1)
    storage.write_whole(folder / CLASSES, text + "\n")
    pictures.save_png(
        folder / LEGEND, pictures.legend(model.class_names, model.colours)
    )


def _write(
    folder: epath.Path,
    example: dict,
    found: dict[str, np.ndarray],
    colours: np.ndarray,
    transparent: Sequence[int] = (),
) -> str:
    """Writes the files of one image, and removes its arrays from both dicts.

    Removing the arrays frees memory, because generators keep these dicts until they
    produce the next ones.

    Args:
        folder: folder of the results.
        example: 'image' uint8[H, W, 3] and 'id', the name of the image.
        found: results of the image, see inference.pixels.
        colours: uint8[C, 3].
        transparent: ids of classes whose pixels the overlay does not colour.

    Returns:
        '', or an error message if the name of the image is too long. Other errors are
        raised, because later images would fail, too.
    """
    try:
        if "/" in example["id"]:
            (folder / example["id"]).parent.mkdir(parents=True, exist_ok=True)
        for name, write in outputs(example.pop("image"), found, colours, transparent):
            write(folder / f"{example['id']}_{name}")
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
    """Yields (end of the file's name, function that writes the file) for each file.

    An image may have 100 million pixels, so each file uses memory only while it is
    written. Scores are the largest arrays: their files come first, so that the arrays
    are freed before the colour images are made, which need 7 bytes per pixel.

    Args:
        image: uint8[H, W, 3].
        found: results of the image, see inference.pixels. Each array except the labels
            is removed when its file is yielded.
        colours: uint8[C, 3].
        transparent: ids of classes whose pixels the overlay does not colour.
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


def list_images(source: epath.Path) -> list[epath.Path]:
    """Returns the image files of a folder, sorted; for an image file, only this file.

    Raises:
        UserError: the source does not exist or has no images, or two images have the
            same stem.
    """
    if not lookup.exists(source):
        raise UserError(
            f"the input {source} does not exist; expected an image or a folder"
        )
    if not lookup.is_folder(source):
        storage.check_regular(source)
        return [source]
    paths = decode.list_images(source)
    if not paths:
        raise UserError(
            f"no images in {source}; supported suffixes: {', '.join(decode.SUFFIXES)}"
        )
    stems = [p.stem for p in paths]
    twice = {s for s in stems if stems.count(s) > 1}
    if twice:
        raise UserError(
            f"several images in {source} have the name {min(twice)}: rename one"
        )
    return paths


def list_inputs(
    sources: Sequence[str], *, recursive: bool = False
) -> dict[str, epath.Path]:
    """Lists the images of several files, folders and patterns.

    See `prepare` for the arguments and the returned dict.

    Raises:
        UserError: a source has no images, or results of two images would have the same
            name.
    """
    found: dict[str, epath.Path] = {}
    for source in sources:
        for path, base in _sources(source, recursive=recursive):
            for image in list_images(path):
                root = base if base.is_dir() else base.parent
                name = image.relative_to(root).with_suffix("").as_posix()
                if found.setdefault(name, image) != image:
                    raise UserError(
                        f"the results of {found[name]} and of {image} would both be"
                        f" named {name}: rename one image, or write the results to"
                        " different folders"
                    )
    return found


def _sources(source: str, *, recursive: bool) -> list[tuple[epath.Path, epath.Path]]:
    """Expands a source: an image, a folder or a pattern.

    Returns:
        Pairs (image or folder of images, folder to which names are relative).
    """
    path = epath.Path(source)
    if not lookup.exists(path) and re.search(r"[*?\[]", source):
        matches = [epath.Path(each) for each in sorted(glob.glob(source))]
        if not matches:
            raise UserError(f"no file matches the pattern {source}")
        _report_left_out([each for each in matches if each.is_dir()], "a folder")
        return [(each, each) for each in matches if not each.is_dir()]
    if not lookup.is_folder(path):
        return [(path, path)]
    folders = _with_inner(path) if recursive else [path]
    for folder in folders:
        others = set(lookup.entries(folder)) - set(decode.list_images(folder))
        inner = {x for x in others if x.is_dir()}
        _report_left_out(others - inner, f"expected {_KNOWN}")
        if not recursive:
            _report_left_out(inner, "a folder; --recursive reads it")
    if recursive:
        folders = [each for each in folders if decode.list_images(each)] or [path]
    return [(each, path) for each in folders]


def _with_inner(folder: epath.Path) -> list[epath.Path]:
    """Returns a folder and all its subfolders whose names do not begin with a dot.

    Each folder is returned only once, even if several links lead to this folder or a
    link leads to a folder that contains the link.
    """
    found: dict[object, epath.Path] = {}
    waiting, again = [folder], []
    links: list[epath.Path] = []
    # Links are followed last, so that folders have their own names, not those of links.
    while waiting or links:
        current = (waiting or links).pop()
        if found.setdefault(lookup.identity(current), current) is not current:
            again.append(current)
            continue
        for each in lookup.entries(current):
            if lookup.is_folder(each) and not each.name.startswith("."):
                (links if os.path.islink(each) else waiting).append(each)
    _report_left_out(again, "a link to a folder that is read under another name")
    return sorted(found.values())


def _report_left_out(paths: Iterable[epath.Path], why: str) -> None:
    """Prints one line with the reason for each path, except for hidden files."""
    for path in sorted(paths):
        if not path.name.startswith("."):
            print(f"left out: {printable(path)} ({why})", file=sys.stderr)


def _read_all(
    model: Model, paths: dict[str, epath.Path], broken: dict[str, str]
) -> Iterator[dict]:
    def note(line: str) -> None:
        tqdm.write(f"note: {printable(line)}", file=sys.stderr)

    for name, path in paths.items():
        try:
            image = model.read(path, note)
        except UserError as error:
            broken[name] = str(error)
            continue
        except MemoryError:
            # Not raised: an error would end this generator and skip all later images.
            broken[name] = (
                f"{path}: the image does not fit into memory; reduce its size"
            )
            continue
        yield {"image": image, "id": name}
