"""NYU Depth v2: 1,449 labelled images of rooms, 40 classes; depth is not read.

The published files are `nyu_depth_v2_labeled.mat` (MATLAB 7.3, an HDF5 format),
`splits.mat`, and `classMapping40.mat`, which maps 894 labels to 40 classes.

Source: Silberman et al., ECCV 2012; for the 40 classes, Gupta et al., CVPR 2013.
"""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from encnet_jax.data.archives import matlab
from encnet_jax.data.archives.entries import Entry
from encnet_jax.data.archives.file_tree import FileTree, StoredFile
from encnet_jax.data.sources.decode import encode_png
from encnet_jax.data.sources.info import (
    DatasetInfo,
    class_lines,
    consecutive_ids,
    prepare_command,
    voc_colours,
)
from encnet_jax.errors import UserError

_FILES = ("nyu_depth_v2_labeled.mat", "splits.mat", "classMapping40.mat")
_SPLITS = {"train": "trainNdxs", "test": "testNdxs"}  # Variables of splits.mat.
_NUM_LABELS = 894


class _Arrays(NamedTuple):
    """Images and labels in the open HDF5 file, and the class of each label.

    The order of the axes is the reverse of MATLAB's.

    Attributes:
        file: name of the file in error messages.
        images: uint8[N, 3, W, H].
        labels: uint16[N, W, H]; 0 is unlabelled, 1..894 are the labels.
        classes: uint8[895]; classes[label] is a class 1..40, and classes[0] is 0.
    """

    file: str
    images: Any
    labels: Any
    classes: np.ndarray


@dataclasses.dataclass(frozen=True)
class _Image:
    """An image in nyu_depth_v2_labeled.mat; `read` returns the image as a PNG."""

    arrays: _Arrays
    index: int

    def __str__(self) -> str:
        return f"{self.arrays.file}, image {self.index + 1}"

    def read(self) -> bytes:
        with matlab.described(str(self)):
            return encode_png(_upright(self.arrays.images[self.index]))

    def mask(self, _image: bytes) -> bytes:
        """Returns the mask as a PNG: 0 is unlabelled, 1..40 are the classes."""
        with matlab.described(str(self)):
            labels = _upright(self.arrays.labels[self.index])
        if labels.max(initial=0) > _NUM_LABELS:
            raise UserError(
                f"{self}: has the label {labels.max()}; expected 0 to {_NUM_LABELS};"
                " download the file again"
            )
        return encode_png(self.arrays.classes[labels])


def _upright(pixels: np.ndarray) -> np.ndarray:
    """Transposes [W, H] to [H, W], or [3, W, H] to [H, W, 3]."""
    return np.ascontiguousarray(pixels.T)


def entries(tree: FileTree) -> dict[str, list[Entry]]:
    """Returns {split: examples} for train and test, sorted by image number."""
    files = {name: tree.file(name) for name in _FILES}
    missing = [name for name, file in files.items() if file is None]
    if missing:
        raise tree.missing(
            f"the files {', '.join(_FILES)} (missing: {', '.join(missing)})"
        )
    data, splits, mapping = (file for file in files.values() if file is not None)
    arrays = _opened(tree, data, _class_of_label(mapping))
    indices = _indices(splits, len(arrays.images))
    return {
        split: [
            Entry(f"{index + 1:04d}", image, image.mask, f"{image}, labels")
            for index in found
            for image in [_Image(arrays, index)]
        ]
        for split, found in indices.items()
    }


def _opened(tree: FileTree, file: StoredFile, classes: np.ndarray) -> _Arrays:
    import h5py

    with matlab.described(str(file)):
        contents = h5py.File(tree.local(file), "r")
        images, labels = contents["images"], contents["labels"]
        count, *size = labels.shape
        expected = (count, 3, *size)
        found = (
            f"'images' {images.dtype}{list(images.shape)} and 'labels'"
            f" {labels.dtype}{list(labels.shape)}"
        )
        fits = images.shape == expected and len(size) == 2
        fits = fits and images.dtype == np.uint8 and labels.dtype.kind == "u"
    if not fits:
        raise UserError(
            f"{file}: has the arrays {found}; expected 'images' uint8[N, 3, W, H] and"
            " 'labels' uint16[N, W, H]; download the file again"
        )
    return _Arrays(str(file), images, labels, classes)


def _class_of_label(file: StoredFile) -> np.ndarray:
    """Returns uint8[895], the class (1..40) of each label; label 0 has the class 0."""
    contents = matlab.variables(file, "mapClass", "className")
    with matlab.described(str(file)):
        names = [str(name) for name in contents["className"].ravel()]
        classes = [int(number) for number in contents["mapClass"].ravel()]
        ends = (len(names), names[0], names[-1]) == (40, "wall", "otherprop")
    if not ends or len(classes) != _NUM_LABELS or not {*classes} <= {*range(1, 41)}:
        raise UserError(
            f"{file}: maps {len(classes)} labels to {len(names)} classes, from"
            f" {names[0]!r} to {names[-1]!r}; expected {_NUM_LABELS} labels with class"
            " numbers in 1..40, and 40 class names from 'wall' to 'otherprop'; download"
            " the file again"
        )
    return np.concatenate([[0], classes]).astype(np.uint8)


def _indices(file: StoredFile, count: int) -> dict[str, list[int]]:
    """Returns {split: sorted image indices}; the first image has index 0."""
    contents = matlab.variables(file, *_SPLITS.values())
    with matlab.described(str(file)):
        found = {
            split: sorted(int(number) - 1 for number in contents[name].ravel())
            for split, name in _SPLITS.items()
        }
    every = [index for indices in found.values() for index in indices]
    if len(set(every)) < len(every) or not all(0 <= index < count for index in every):
        raise UserError(
            f"{file}: lists an image twice, or a number outside 1 to {count}; expected"
            " the splits.mat that belongs to nyu_depth_v2_labeled.mat"
        )
    return found


DATA_SET = DatasetInfo(
    name="nyuv2",
    class_names=class_lines("nyuv2"),
    colours=voc_colours(41)[1:],
    id_map=consecutive_ids(40, first_id=1, ignore_ids=(0,)),
    splits=tuple(_SPLITS),
    source="https://cs.nyu.edu/~silberman/datasets/nyu_depth_v2.html",
    preparation=prepare_command(
        "nyuv2", "nyu_depth_v2_labeled.mat, splits.mat and classMapping40.mat"
    ),
    description="Rooms of many kinds; 40 classes, raw id 0 is unlabelled.",
    full_counts={"train": 795, "test": 654},
    entries=entries,
    rule="40 classes, unlabelled pixels (raw 0) are not counted",
)
