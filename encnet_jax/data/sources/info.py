"""DatasetInfo: the classes, ids, splits and scores of a data set."""

import dataclasses
from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any, NamedTuple

import numpy as np

from encnet_jax import storage
from encnet_jax.labels import IGNORE_LABEL

STORED_VERSION = "1.0.0"  # Version of the prepared records.
VIEWS_FILE = "road_to_image.json"  # Next to the records of a data set with `views`.
UNKNOWN_ID = 254  # Marks raw values in id_map that the data set does not define.


class Server(NamedTuple):
    """The format of submissions to a benchmark's test server.

    Attributes:
        name: name of the server in command-line flags.
        folder: folder of the PNGs in the submitted archive; '' is the root.
        suffixes: allowed suffixes of the archive's file name.
        colour_type: colour type in the PNGs' headers: 0 is grey, 3 is indexed.
        values: values[i] is the pixel value of train id i in the PNGs, at most 254.
    """

    name: str
    folder: str
    suffixes: tuple[str, ...]
    colour_type: int
    values: tuple[int, ...]

    @property
    def num_classes(self) -> int:
        return len(self.values)


def _no_scores(
    mean_iou: float, pixel_accuracy: float, iou: np.ndarray
) -> dict[str, float]:
    return {}


@dataclasses.dataclass(frozen=True, eq=False)
class DatasetInfo:
    """The facts about a data set that are known before its files are read.

    Attributes:
        name: name of the data set in the registry, the value of data.name.
        class_names: names of the classes; train id i is class_names[i].
        colours: uint8[number of classes, 3], RGB colours in coloured label images.
        id_map: uint8[256]; for the mask value v, id_map[v] is a train id, IGNORE_LABEL
            or UNKNOWN_ID.
        splits: names of the stored splits; the user's files may lack some splits.
        source: where to obtain the data.
        preparation: instruction to prepare the data, for error messages; ' DIR' is
            replaced by the data folder.
        description: one sentence about the data set.
        task: 'segmentation', or 'classification' (one label per image).
        unions: {name: stored splits}; the split `name` is the concatenation of these
            stored splits.
        unlabelled: stored splits without labels; all their pixels are IGNORE_LABEL.
        full_counts: {stored split: number of images} of the complete data set.
        downloads: (URL, SHA-1) of each archive; empty if registration is required.
        stored_as: name of another data set whose prepared records are used; '' if none.
        entries: function (archives.file_tree.FileTree) -> {split: list of
            archives.entries.Entry}, which lists the examples in the published files;
            None if the `prepare` command does not support the data set.
        views: function (archives.file_tree.FileTree) -> {example name: 3x3 homography
            from the road plane to the image}, for scores in bird's-eye view; None if
            the data set has no such scores.
        open_source: function (DatasetInfo, section `data` of the configuration) ->
            Source; None to read prepared records or .npz files.
        open_dataset: function (DatasetInfo, section `data` of the configuration) ->
            Dataset; None to use the segmentation pipelines.
        positive_class: train id of the class whose MaxF (largest F1 score over all
            thresholds) and average precision are reported, or None.
        rule: one sentence that states how scores are computed.
        scores: function (mean IoU, pixel accuracy, IoU of each class) -> {name: score};
            returns the benchmark's own scores in [0, 1].
        server: submission format of the test server, or None.
    """

    name: str
    class_names: tuple[str, ...]
    colours: np.ndarray
    id_map: np.ndarray
    splits: tuple[str, ...]
    source: str
    preparation: str = "nothing to do: the data are generated on first use"
    description: str = ""
    task: str = "segmentation"
    unions: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    unlabelled: tuple[str, ...] = ()
    full_counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    downloads: tuple[tuple[str, str], ...] = ()
    stored_as: str = ""
    entries: Callable[[Any], Mapping[str, list]] | None = None
    views: Callable[[Any], Mapping[str, list[list[float]]]] | None = None
    open_source: Callable[["DatasetInfo", Any], Any] | None = None
    open_dataset: Callable[["DatasetInfo", Any], Any] | None = None
    positive_class: int | None = None
    rule: str = "ignored pixels are not counted"
    scores: Callable[[float, float, np.ndarray], dict[str, float]] = _no_scores
    server: Server | None = None

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def how_to_prepare(self, data_dir: str) -> str:
        """Returns text that tells the user how to prepare the data set in a folder."""
        if storage.is_remote(data_dir):
            done = self.preparation.replace(" DIR", " data")
            return f"{done}; then copy data/{self.stored_as or self.name} to {data_dir}"
        return self.preparation.replace(" DIR", f" {data_dir}")


def voc_colours(num_classes: int) -> np.ndarray:
    """Returns RGB uint8[num_classes, 3]: the first colours of PASCAL VOC's palette.

    Source: VOCdevkit VOClabelcolormap.
    """
    ids = np.arange(num_classes)[:, None]
    channel = np.arange(3)
    bits = [((ids >> (3 * k + channel)) & 1) << (7 - k) for k in range(8)]
    return np.sum(bits, axis=0).astype(np.uint8)


def consecutive_ids(
    num_classes: int, *, first_id: int = 0, ignore_ids: tuple[int, ...] = ()
) -> np.ndarray:
    """Returns a map uint8[256] from mask values to train ids, for DatasetInfo.id_map.

    The `num_classes` mask values that start at `first_id` are mapped to train ids that
    start at 0. The values in `ignore_ids` are mapped to IGNORE_LABEL, all other values
    to UNKNOWN_ID.
    """
    id_map = np.full(256, UNKNOWN_ID, np.uint8)
    id_map[first_id : first_id + num_classes] = np.arange(num_classes)
    id_map[list(ignore_ids)] = IGNORE_LABEL
    return id_map


def class_lines(name: str) -> tuple[str, ...]:
    """Returns the lines of sets/classes/NAME.txt; each line describes one class."""
    file = resources.files("encnet_jax.data.sets") / "classes" / f"{name}.txt"
    return tuple(file.read_text(encoding="utf-8").splitlines())


def prepare_command(name: str, what: str) -> str:
    """Returns text that tells the user how to prepare a data set from published files.

    Args:
        name: name of the data set.
        what: the files that the user must obtain, such as 'data_road.zip'.
    """
    return (
        f"get {what}, then run python -m encnet_jax.data.prepare {name} "
        "--source ARCHIVE_OR_FOLDER --data_dir DIR"
    )
