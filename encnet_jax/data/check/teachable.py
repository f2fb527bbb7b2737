"""Checks that a network can learn from a data set."""

import sys

import numpy as np

from encnet_jax.data.check.survey import check_split
from encnet_jax.data.pipelines.dataset import Dataset, Source
from encnet_jax.data.pipelines.order import process_share
from encnet_jax.data.sources.folders import FolderSource
from encnet_jax.data.sources.info import DatasetInfo
from encnet_jax.errors import UserError, printable
from encnet_jax.labels import IGNORE_LABEL

_LOOKED_AT = 32  # Number of masks of a large split that are counted, evenly spaced.
_SMALL = 64  # In splits of at most this size, all masks are counted.
_VALIDATION_IMAGES = 256  # Limit on validation images that are decoded, evenly spaced.
_PROBLEMS_SHOWN = 3


def problem(info: DatasetInfo, pixels: np.ndarray) -> str | None:
    """Returns a message if a network cannot learn from the labels, otherwise None.

    Args:
        info: classes and ids of the data set.
        pixels: int[256], number of pixels of each train id.
    """
    if info.num_classes < 2:
        return only_class(info)
    present = np.flatnonzero(pixels[: info.num_classes])
    if not len(present):
        return (
            "every pixel is ignored, so nothing can be learned or scored; correct the"
            " masks, or the list of classes and ignored values"
        )
    if len(present) == 1:
        name = info.class_names[present[0]]
        return (
            f"only one of {info.num_classes} classes occurs, {name!r}, so there is"
            " nothing to learn; correct the masks, or the list of classes"
            + _ignored(info, pixels)
        )
    return None


def _ignored(info: DatasetInfo, pixels: np.ndarray) -> str:
    """Returns a hint that the ignored pixels may be those of an absent class.

    Returns '' if no pixels are ignored.
    """
    if not pixels[IGNORE_LABEL]:
        return ""
    share = pixels[IGNORE_LABEL] / pixels.sum()
    values = ", ".join(map(str, np.flatnonzero(info.id_map == IGNORE_LABEL)))
    missing = absent_classes(info, pixels)[0]
    (ids,) = np.nonzero(info.id_map == info.class_names.index(missing))
    advised = f"the value {ids[0]}" if len(ids) else "the value of the class"
    return (
        f". {share:.1%} of the pixels have an ignored value (data.folder.ignore_ids:"
        f" {values}); if these pixels are {missing!r}, write {advised} in the masks"
    )


def only_class(info: DatasetInfo) -> str:
    """Returns the error message for a data set with a single class."""
    name = info.class_names[0] if info.class_names else ""
    return (
        f"the only class is {name!r}, so every prediction is correct and the score is"
        " always 1; instead of ignoring the other pixels, make them a second class,"
        f" as in class_names=('background', {name or 'object'!r})"
    )


def absent_classes(info: DatasetInfo, pixels: np.ndarray) -> list[str]:
    """Returns the names of the classes that have no pixels.

    Args:
        info: classes and ids of the data set.
        pixels: int[256], number of pixels of each train id.
    """
    counts = pixels[: info.num_classes]
    return [info.class_names[i] for i in np.flatnonzero(counts == 0)]


def shared_files(source: Source, train_split: str, val_split: str) -> str | None:
    """Returns an error message if two splits consist of the same files, else None."""
    if not isinstance(source, FolderSource) or val_split in ("", train_split):
        return None
    if source.files(train_split) != source.files(val_split):
        return None
    return (
        f"the splits {train_split} and {val_split} have the same files, so scores would"
        " say nothing about new images; write the placeholder {split} in"
        " data.folder.images and data.folder.masks, or leave data.val_split empty"
    )


def check(dataset: Dataset, train_split: str, val_split: str) -> None:
    """Checks before the first step that a network can learn from the training split.

    In a split of at most 64 examples, all masks are read, and an error is raised if a
    network cannot learn from them. In a larger split, 32 evenly spaced masks are read,
    unreadable masks are skipped, and only a warning is printed.

    Args:
        dataset: the opened data set.
        train_split: the training split.
        val_split: the validation split; '' for none.

    Raises:
        UserError: training and validation use the same files, the data set has a single
            class, or the masks of a split of at most 64 examples contain at most one
            class. Also raised if such a split has an unreadable example and
            data.max_unreadable_share is 0.
    """
    same = shared_files(dataset.source, train_split, val_split)
    if same:
        raise UserError(same)
    if isinstance(dataset.source, FolderSource):
        for split in filter(None, dict.fromkeys((train_split, val_split))):
            for line in dataset.source.left_out(split):
                print(f"warning: {printable(line)}", file=sys.stderr)
    if dataset.info.num_classes < 2:
        raise UserError(f"{dataset.info.name}: {only_class(dataset.info)}")
    if dataset.info.task != "segmentation":
        return
    size = dataset.num_labelled(train_split)
    number = size if size <= _SMALL else _LOOKED_AT
    indices = np.unique(np.linspace(0, size - 1, number).astype(int))
    pixels, seen = np.zeros(256, np.int64), 0
    for index in map(int, indices):
        try:
            label = dataset.source.example(train_split, index).label
        except UserError:
            if size <= _SMALL and not dataset.data.max_unreadable_share:
                raise
            continue  # Training reports the example when it reads it.
        pixels += np.bincount(label.ravel(), minlength=256)
        seen += 1
    found = problem(dataset.info, pixels) if seen else None
    if not found:
        return
    if seen == size:
        raise UserError(f"{dataset.info.name} {train_split}: {found}")
    print(
        f"warning: {dataset.info.name} {train_split}, {seen} of {size} masks: {found}",
        file=sys.stderr,
    )


def check_validation(
    dataset: Dataset,
    split: str,
    max_images: int = 0,
    *,
    process_index: int = 0,
    process_count: int = 1,
) -> None:
    """Checks before the first step that validation images and masks can be decoded.

    At most 256 evenly spaced examples are decoded. Without this check, an unreadable
    file would be noticed only at the first validation, hours later.

    Args:
        dataset: the opened data set.
        split: the validation split; '' for none.
        max_images: validation uses only the first max_images images of the split; 0 for
            all.
        process_index: index of this process; each process reads a part of the images.
        process_count: number of processes.

    Raises:
        UserError: an image or mask cannot be read; the message names the file.
    """
    if not split:
        return
    size = dataset.num_labelled(split)
    size = min(size, max_images or size)
    number = min(size, _VALIDATION_IMAGES)
    share = process_share(number, process_index, process_count)
    report = check_split(
        dataset.source,
        split,
        [i * size // number for i in share],
        num_classes=dataset.info.num_classes,
    )
    if report.problems:
        shown = "; ".join(report.problems[:_PROBLEMS_SHOWN])
        left = len(report.problems) - _PROBLEMS_SHOWN
        raise UserError(
            f"{len(report.problems)} of {len(share)} validation images cannot be used:"
            f" {shown}{f'; and {left} more' if left > 0 else ''}; correct the files, or"
            f" change data.val_split ({split!r}); data.max_unreadable_share applies"
            " only to training images"
        )
