"""Labels image files and writes the results to files."""

import sys
from collections.abc import Iterator, Sequence

import numpy as np
from etils import epath
from tqdm import tqdm

from encnet_jax.errors import UserError, printable
from encnet_jax.inference import inputs, pixels, result_files, results
from encnet_jax.inference.model import Model
from encnet_jax.inference.result import ids_of
from encnet_jax.scoring.evaluator import check_finite
from encnet_jax.storage import outputs


def prepare(
    sources: Sequence[str],
    output: str,
    *,
    recursive: bool = False,
    scores: bool = False,
    overwrite: bool = False,
) -> dict[str, epath.Path]:
    """Lists the input images and creates the output folder.

    Args:
        sources: image files, folders of images, or patterns such as 'photos/*.jpg'.
        output: folder for the results, on a disk or in an object store. The folder must
            not be the folder of any of the images.
        recursive: whether to also read the subfolders of source folders.
        scores: whether `predict_files` will be called with `top` > 0.
        overwrite: whether existing result files may be replaced.

    Returns:
        {name: path} of the images. The name of an image in a source folder is its path
        relative to this folder, without suffix. The name of any other image is its file
        name without suffix. The names of result files start with the image's name.

    Raises:
        UserError: there are no images, two images would have the same name, the output
            folder cannot be written to, or existing files would be replaced.
    """
    paths = inputs.list_inputs(sources, recursive=recursive)
    kinds = {result_files.CLASSES: "list of classes", result_files.LEGEND: "picture"}
    ends: tuple[str, ...] = result_files.ENDS
    if scores:
        kinds[result_files.SUMMARY] = "summary of scores"
        ends += result_files.SCORE_ENDS
    for name, kind in kinds.items():
        outputs.check_replaceable(epath.Path(output) / name, kind, "--output")
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
    """Labels images, and writes the results to files.

    For an image with the name NAME, three PNGs of the image's size are written:

    - NAME_ids.png: the class id of every pixel, an indexed 8-bit PNG.
    - NAME_colour.png: the colour of every pixel's class.
    - NAME_overlay.png: the image, blended with these colours.

    The files classes.json and legend.png list the classes and their colours.

    If `top` is not 0, these files are also written:

    - NAME_top.npz: the arrays 'classes' uint8[H, W, top] and 'probabilities'
      f16[H, W, top]; the most probable class of a pixel is first.
    - NAME_confidence.png: the probability of every pixel's label. The PNG is 16-bit
      grey, and 65535 means 1.
    - NAME_entropy.png: the entropy of every pixel's probabilities, divided by the
      logarithm of the number of classes. The format is the same.
    - scores.json: a summary of every image, least confident first; see
      result_files.summary.

    Args:
        model: the network.
        paths: result of `prepare`.
        output: existing folder, on a disk or in an object store.
        top: number of most probable classes to save for every pixel. If 0, no scores
            are written.
        transparent: names of classes that are not coloured in overlays.

    Returns:
        Exit status: 0, or 1 if some images could not be labelled.
    """
    folder = epath.Path(output)
    clear = ids_of(transparent, model.class_names)
    broken: dict[str, str] = {}  # Name of an image that failed -> message.
    done: dict[str, dict] = {}  # Name of a labelled image -> summary of its scores.
    for example, found in _labelled(model, paths, top, broken):
        name = example["id"]
        summary = result_files.summary(name, found, model.class_names) if top else {}
        problem = result_files.write(folder, example, found, model.colours, clear)
        if problem:
            broken[name] = problem
        else:
            done[name] = summary
    if done:
        result_files.save_classes(folder, model.class_names, model.colours)
    if top:
        result_files.save_summaries(folder, list(done.values()))
    _report_broken(broken, {n: path for n, path in paths.items() if n not in done})
    print(
        f"labelled {len(done)} of {len(paths)} images with step {model.step}; see"
        f" {printable(folder)}"
    )
    return 1 if broken else 0


def _labelled(
    model: Model, paths: dict[str, epath.Path], top: int, broken: dict[str, str]
) -> Iterator[tuple[dict, dict[str, np.ndarray]]]:
    """Reads and labels images, and shows a progress bar.

    Args:
        model, paths, top: see predict_files.
        broken: dict to which {name: error message} is added for each image that cannot
            be labelled.

    Yields:
        (example, results) for each labelled image. The example is a dict with 'image'
        uint8[H, W, 3] and 'id', the name of the image. The results are a dict of
        arrays, see inference.pixels.
    """
    pixel_fn = pixels.largest(top) if top else pixels.labels
    model.expect(paths.values())
    # A tile counts as a fraction of its image.
    shown = "{l_bar}{bar}| {n:.0f}/{total_fmt} images [{elapsed}<{remaining}]"
    bar = tqdm(total=len(paths), desc="predict", bar_format=shown, disable=None)
    with bar:
        for example, found in results.leaving_out_too_large(
            lambda examples: model.describe(examples, pixel_fn, bar.update),
            _read_all(model, paths, broken),
            broken,
            # Less padding: an image that did not fit may have had a larger canvas.
            smaller=lambda: model.expect(()),
        ):
            try:
                check_finite(found["labels"], example["id"])
            except UserError as error:
                broken[example["id"]] = str(error)
                continue
            yield example, found


def _report_broken(broken: dict[str, str], missing: dict[str, epath.Path]) -> None:
    """Prints one error line for every image that was not labelled.

    Args:
        broken: {name of an image: error message}.
        missing: {name: path} of all images without results. If an image is not in
            `broken`, a default message is printed.
    """
    for name, path in missing.items():
        broken.setdefault(name, f"{path}: was not labelled; label the image separately")
    for line in broken.values():
        print(f"error: {printable(line)}", file=sys.stderr)


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
