"""Whether a data set can teach anything, however well it decodes."""

import sys

import numpy as np

from encnet_jax.data.info import DatasetInfo
from encnet_jax.data.pipelines.dataset import Dataset, Source
from encnet_jax.data.sources.folders import FolderSource
from encnet_jax.errors import UserError

_LOOKED_AT = 32  # Masks that are counted before a training, spread over the split.


def problem(info: DatasetInfo, pixels: np.ndarray) -> str | None:
    """Says why labels with these counts teach nothing, or None where they may.

    Args:
        info: of the data set.
        pixels: int[256], pixels of each train id.
    """
    present = np.flatnonzero(pixels[: info.num_classes])
    if not len(present):
        return (
            "every pixel is ignored, so nothing can be learned or scored; correct the"
            " masks, or the list of classes and ignored values"
        )
    if len(present) == 1 and info.num_classes > 1:
        name = info.class_names[present[0]]
        return (
            f"only one of {info.num_classes} classes occurs, {name!r}, so there is"
            " nothing to learn; correct the masks, or the list of classes"
        )
    return None


def absent_classes(info: DatasetInfo, pixels: np.ndarray) -> list[str]:
    """Returns the names of the classes that have no pixel; see `problem`."""
    counts = pixels[: info.num_classes]
    return [info.class_names[i] for i in np.flatnonzero(counts == 0)]


def shared_files(source: Source, train_split: str, val_split: str) -> str | None:
    """Says that training and validation read the same files, or None."""
    if not isinstance(source, FolderSource) or val_split in ("", train_split):
        return None
    if source.files(train_split) != source.files(val_split):
        return None
    return (
        f"{train_split} and {val_split} are the same files, so scores would say nothing"
        " about new images; put {split} into data.folder.images and .masks, or leave"
        " data.val_split empty"
    )


def check(dataset: Dataset, train_split: str, val_split: str) -> None:
    """Looks at a training set before the first step; unreadable examples are left out.

    A small split is counted whole; of a larger one a few masks are, and what these
    suggest is printed as a warning.

    Raises:
        UserError: it cannot teach.
    """
    same = shared_files(dataset.source, train_split, val_split)
    if same:
        raise UserError(same)
    if dataset.info.task != "segmentation":
        return
    size = dataset.num_labelled(train_split)
    indices = np.unique(np.linspace(0, size - 1, _LOOKED_AT).astype(int))
    pixels, seen = np.zeros(256, np.int64), 0
    for index in map(int, indices):
        try:
            label = dataset.source.example(train_split, index).label
        except UserError:
            continue  # Counted and named when it is drawn.
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
