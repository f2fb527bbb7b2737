"""What a data set is before its files are read; ids and colours."""

import dataclasses
from collections.abc import Mapping
from importlib import resources

import numpy as np

from encnet_jax import storage
from encnet_jax.labels import IGNORE_LABEL

STORED_VERSION = "1.0.0"  # Of the records that `prepare` writes and readers read.
UNKNOWN_ID = 254  # What id_map holds for raw values that the data set does not define.


@dataclasses.dataclass(frozen=True, eq=False)
class DatasetInfo:
    """What is known about a data set before any of its files are read.

    Attributes:
        name: What data.name calls it.
        class_names: One for each train id 0..C-1.
        colours: uint8[C, 3], RGB of each class in pictures.
        id_map: uint8[256], raw mask value -> train id, IGNORE_LABEL or UNKNOWN_ID.
        splits: Names of the splits that are stored, where the source has them.
        source: Where the data can be had.
        preparation: How to make it readable, for error messages.
        task: 'segmentation', or 'classification': one label for an image.
        unions: Splits that are several stored ones, one after the other, by name.
        unlabelled: Stored splits without truth; every pixel of theirs is IGNORE_LABEL.
        full_counts: Images in each stored split of the complete data set.
        downloads: (address, SHA-1) of archives that may be fetched without signing up.
        stored_as: The data set that is prepared, where several names share one.
    """

    name: str
    class_names: tuple[str, ...]
    colours: np.ndarray
    id_map: np.ndarray
    splits: tuple[str, ...]
    source: str
    preparation: str
    task: str = "segmentation"
    unions: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    unlabelled: tuple[str, ...] = ()
    full_counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    downloads: tuple[tuple[str, str], ...] = ()
    stored_as: str = ""

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def how_to_prepare(self, data_dir: str) -> str:
        """Returns `preparation` for a folder of prepared data sets."""
        if storage.is_remote(data_dir):
            done = self.preparation.replace(" DIR", " data")
            return f"{done}; then copy data/{self.stored_as or self.name} to {data_dir}"
        return self.preparation.replace(" DIR", f" {data_dir}")


def voc_colours(num_classes: int) -> np.ndarray:
    """The PASCAL VOC palette: uint8[num_classes, 3]; the id's bits, dealt to R, G, B.

    Source: VOCdevkit VOClabelcolormap.
    """
    ids = np.arange(num_classes)[:, None]
    channel = np.arange(3)
    bits = [((ids >> (3 * k + channel)) & 1) << (7 - k) for k in range(8)]
    return sum(bits).astype(np.uint8)


def consecutive_ids(
    num_classes: int, *, first_id: int = 0, ignore_ids: tuple[int, ...] = ()
) -> np.ndarray:
    """uint8[256]: first_id, ... -> 0, 1, ...; ignore_ids -> IGNORE_LABEL."""
    id_map = np.full(256, UNKNOWN_ID, np.uint8)
    id_map[first_id : first_id + num_classes] = np.arange(num_classes)
    id_map[list(ignore_ids)] = IGNORE_LABEL
    return id_map


def class_lines(name: str) -> tuple[str, ...]:
    """Returns the lines of sets/classes/NAME.txt, one for each class."""
    file = resources.files("encnet_jax.data.sets") / "classes" / f"{name}.txt"
    return tuple(file.read_text(encoding="utf-8").splitlines())


def prepare_command(name: str, what: str) -> str:
    """Returns the sentence that says how to prepare a data set from its source."""
    return (
        f"get {what}, then run python -m encnet_jax.data.prepare {name} "
        "--source ARCHIVE_OR_FOLDER --data_dir DIR"
    )
