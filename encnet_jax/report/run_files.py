"""Reads the files of a run for a report: scores, images, curves, configuration."""

import dataclasses
import io
import pathlib
import re
import zipfile
from collections.abc import Sequence

import numpy as np
from etils import epath

from encnet_jax import config as config_lib
from encnet_jax import storage
from encnet_jax.data import dataset_info
from encnet_jax.errors import UserError, printable
from encnet_jax.evaluate import tables
from encnet_jax.labels import IGNORE_LABEL
from encnet_jax.report.events import read_scalars
from encnet_jax.scoring import image_scores
from encnet_jax.storage import lookup


@dataclasses.dataclass(frozen=True)
class RunFiles:
    """The data of a run that a report shows.

    Attributes:
        name: name of the run's folder.
        report: report of the evaluation, see evaluate.tables.make_report.
        config: the run's configuration as JSON text.
        class_names, colours: names and colours uint8[C, 3] of the classes.
        confusion: int64[C, C]; rows are labels, columns are predictions.
        ids: str[N], the ids of all images.
        counts: int64[N, 3, C], the numbers of correct, labelled and predicted pixels
            for each image and class.
        pictures: {name: array} for the best and the worst images, with names such as
            'best0_image'; see scoring.image_scores.
        scalars: {name: {step: value}} from the TensorBoard files.
    """

    name: str
    report: dict
    config: str
    class_names: tuple[str, ...]
    colours: np.ndarray
    confusion: np.ndarray
    ids: np.ndarray
    counts: np.ndarray
    pictures: dict[str, np.ndarray]
    scalars: dict[str, dict[int, float]]


def read_all(
    workdirs: Sequence[str], split: str | None, protocol: str | None
) -> list[RunFiles]:
    """Reads several evaluated runs, and gives the runs distinct names.

    The name of a run is the name of its folder or, if several folders have this name,
    the path of its folder. For the arguments and errors, see `read`.
    """
    runs = [read(workdir, split, protocol) for workdir in workdirs]
    names = [run.name for run in runs]
    return [
        dataclasses.replace(run, name=workdir) if names.count(run.name) > 1 else run
        for run, workdir in zip(runs, workdirs, strict=True)
    ]


def read(workdir: str, split: str | None, protocol: str | None) -> RunFiles:
    """Reads an evaluated run.

    Args:
        workdir: folder of a segmentation run.
        split, protocol: split and protocol of the report; if both are None, the newest
            report is read.

    Raises:
        UserError: the report does not exist, or its per-image scores are missing or
            damaged.
    """
    folder = epath.Path(workdir)
    report = _report(folder, split, protocol)
    split, protocol = report["split"], report["protocol"]["name"]
    parts = _parts(folder, report)
    saved = config_lib.read_saved(folder / "config.json")
    info = dataset_info(saved.data)
    _check_classes(folder, report, parts, info.class_names)
    scalars = read_scalars(workdir) if lookup.matching(folder, "events.out*") else {}
    return RunFiles(
        printable(pathlib.PurePath(workdir).name or workdir),  # Path('.') has no name.
        report,
        config_lib.to_json(saved),
        info.class_names,
        info.colours,
        parts[0]["confusion"],
        np.concatenate([part["ids"] for part in parts]),
        np.concatenate([part["counts"] for part in parts]),
        _best_and_worst(parts),
        scalars,
    )


def _report(folder: epath.Path, split: str | None, protocol: str | None) -> dict:
    names = [path.name for path in lookup.matching(folder, "report*.json")]
    if split is None and protocol is None:
        pattern = r"report\.json"
    else:
        named = (re.escape(split or ""), re.escape(protocol or ""))
        pattern = "report-{}-{}".format(*(name or ".+" for name in named)) + r"\.json"
    found = sorted(name for name in names if re.fullmatch(pattern, name))
    if not found:
        there = ", ".join(sorted(names)) or "no reports"
        raise UserError(
            f"{folder} has {there}; expected a report of split {split or '(any)'} with"
            f" protocol {protocol or '(any)'}: run eval.py --workdir {folder}"
        )
    report = tables.read_report(folder / found[-1])
    if "iou" not in report:
        raise UserError(
            f"{folder} is not a segmentation run; expected a segmentation run, because"
            " only segmentation runs have per-image scores"
        )
    return report


def _parts(folder: epath.Path, report: dict) -> list[dict[str, np.ndarray]]:
    """Reads the per-image scores of a report, one file per process of the evaluation.

    Returns:
        A dict {name: array} for each process; see scoring.image_scores.

    Raises:
        UserError: a file is missing, damaged, or from another evaluation.
    """
    split, protocol = report["split"], report["protocol"]["name"]
    again = (
        f"score the run again with eval.py --workdir {folder} --split {split}"
        f" --protocol {protocol}"
    )
    parts = []
    for number in range(report.get("processes", 1)):
        file = folder / image_scores.file_name(split, protocol, number)
        if not lookup.exists(file):
            raise UserError(f"{file} (per-image scores) is missing: {again}")
        part = _arrays(file)
        wrong = _wrong_arrays(part)
        if wrong:
            raise UserError(f"{file}: {wrong}: {again}")
        if part["evaluation"] != report.get("evaluation"):
            raise UserError(
                f"{file} and the report are from different evaluations: {again}"
            )
        parts.append(part)
    found = sum(len(part["ids"]) for part in parts)
    if found != report["images"]:
        raise UserError(
            f"{folder} has per-image scores of {found} images, but the report covers"
            f" {report['images']} images: {again}"
        )
    return parts


def _check_classes(
    folder: epath.Path, report: dict, parts: list[dict], names: tuple[str, ...]
) -> None:
    """Raises UserError if the classes of the report or scores are not `names`."""
    sizes = {len(part["confusion"]) for part in parts}
    if report["iou"].keys() != set(names) or sizes != {len(names)}:
        raise UserError(
            f"{folder}: config.json describes a data set of {len(names)} classes, but"
            " the report or the per-image scores have other classes; score the run"
            " again"
        )
    for part in parts:
        for name, pixels in part.items():
            if name.endswith(("_label", "_prediction")):
                if pixels[pixels != IGNORE_LABEL].max(initial=0) >= len(names):
                    raise UserError(
                        f"{folder}: the array {name!r} contains an id that is not a"
                        " class id: score the run again"
                    )


def _arrays(file: epath.Path) -> dict[str, np.ndarray]:
    content = storage.read_bytes(file, _MOST_IMAGE_BYTES)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            unpacked = sum(info.file_size for info in archive.infolist())
        if unpacked > _MOST_IMAGE_BYTES:
            raise ValueError(
                f"the arrays have {unpacked:,} bytes; expected at most"
                f" {_MOST_IMAGE_BYTES:,}"
            )
        with np.load(io.BytesIO(content)) as arrays:
            return dict(arrays)
    # For damaged files, zipfile and NumPy raise errors of many types.
    except Exception as error:
        raise UserError(
            f"{file} is not a complete file of per-image scores"
            f" ({type(error).__name__}: {error}): score the run again"
        ) from None


_MOST_IMAGE_BYTES = 4 << 30


def _wrong_arrays(part: dict[str, np.ndarray]) -> str | None:
    """Checks the names, dtypes and shapes of the arrays in a file of per-image scores.

    Returns:
        A description of the first error, or None.
    """
    for name, kind, dims in (
        ("ids", "U", 1),
        ("counts", "i", 3),
        ("confusion", "i", 2),
        ("evaluation", "i", 0),
    ):
        array = part.get(name)
        if array is None or array.dtype.kind != kind or array.ndim != dims:
            return f"the array {name!r} is missing, or has a wrong dtype or shape"
    number, classes = len(part["ids"]), len(part["confusion"])
    if part["confusion"].shape != (classes, classes):
        shape = part["confusion"].shape
        return f"the array 'confusion' has shape {shape}; expected a square matrix"
    if part["counts"].shape != (number, 3, classes) and number:
        shape = part["counts"].shape
        return f"the array 'counts' has shape {shape}; expected {(number, 3, classes)}"
    if min(part["counts"].min(initial=0), part["confusion"].min(initial=0)) < 0:
        return "the array 'counts' or 'confusion' has negative values"
    presence = part.get("presence")
    if presence is not None and (
        presence.dtype.kind != "f" or presence.shape != (number, classes)
    ):
        return (
            f"the array 'presence' has dtype {presence.dtype} and shape"
            f" {presence.shape}; expected floats of shape {(number, classes)}"
        )
    for name, place in part.items():
        if not re.fullmatch("(best|worst)[0-9]", name):
            continue
        if place.ndim or place.dtype.kind != "i" or not 0 <= place < number:
            return f"the array {name!r} is not the index of an image"
        maps = [part.get(f"{name}_{kind}") for kind in image_scores.KINDS]
        if any(x is None or x.dtype != np.uint8 for x in maps):
            return f"the image or a label map of {name!r} is missing or is not uint8"
        image, label, prediction = map(np.asarray, maps)
        shapes = image.ndim == 3 and image.shape[2] == 3 and image.size
        shapes = shapes and max(image.shape) <= image_scores.LONG_SIDE_PX
        if not shapes or not image.shape[:2] == label.shape == prediction.shape:
            return f"the image and the label maps of {name!r} have wrong shapes"
    return None


def _best_and_worst(parts: list[dict]) -> dict[str, np.ndarray]:
    """Selects the best and the worst images from the per-image scores of all processes.

    Returns:
        {name: array}, see RunFiles.pictures.
    """
    joined: dict[str, np.ndarray] = {}
    for name, sign in (("best", -1), ("worst", 1)):
        found: list[tuple] = []
        for part in parts:
            for place in range(image_scores.KEEP):
                if f"{name}{place}" in part:
                    number = int(part[f"{name}{place}"])
                    score = image_scores.mean_iou(part["counts"][number])
                    found.append((sign * score, len(found), part, place, number))
        for place, (_, _, part, old, number) in enumerate(
            sorted(found, key=lambda entry: entry[:2])[: image_scores.KEEP]
        ):
            joined[f"{name}{place}"] = part["ids"][number]
            score = image_scores.mean_iou(part["counts"][number])
            joined[f"{name}{place}_score"] = np.asarray(score)
            if "presence" in part:
                joined[f"{name}{place}_presence"] = part["presence"][number]
            for kind in image_scores.KINDS:
                joined[f"{name}{place}_{kind}"] = part[f"{name}{old}_{kind}"]
    return joined
