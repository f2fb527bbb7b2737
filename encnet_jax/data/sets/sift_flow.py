"""SIFT-flow: 2,688 outdoor images of 256x256 pixels, 33 classes.

In masks, 0 means unlabelled and 1..33 are the classes. TestSet1.txt lists the 200 test
images of Tighe and Lazebnik, ECCV 2010.

Source: Liu et al., CVPR 2009.
"""

from functools import partial

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

_FOLDER = "spatial_envelope_256x256_static_8outdoorcategories"
_LIST = "TestSet1.txt"


def entries(tree: FileTree) -> dict[str, list[Entry]]:
    """Returns {split: examples} for the splits train and test."""
    images = tree.files(f"Images/{_FOLDER}", ".jpg")
    masks = tree.files(f"SemanticLabels/{_FOLDER}", ".mat")
    listed = tree.file(_LIST)
    if not images or not masks or listed is None:
        raise tree.missing(
            f"Images/{_FOLDER}/*.jpg, SemanticLabels/{_FOLDER}/*.mat and {_LIST}"
        )
    lacking = sorted(set(images) - set(masks))
    if lacking:
        raise UserError(
            f"{images[lacking[0]]}: has no labels in SemanticLabels (images without"
            f" labels: {len(lacking)} of {len(images)}); add the labels"
        )
    test = _names(listed)
    unknown = sorted(test - set(images))
    if unknown or not test:
        raise UserError(
            f"{listed}: {f'lists {unknown[0]!r}' if unknown else 'is empty'}; expected"
            f" names of images in Images/{_FOLDER}, one per line"
        )
    splits = {"train": sorted(set(images) - test), "test": sorted(test)}
    return {
        split: [
            Entry(name, images[name], partial(_mask, masks[name]), str(masks[name]))
            for name in names
        ]
        for split, names in splits.items()
    }


def _names(file: StoredFile) -> set[str]:
    """Reads a list of image paths; returns the names without folder and '.jpg'.

    The folders in a path may be separated by backslashes.
    """
    lines = file.read().decode("utf-8", "replace").replace("\\", "/").split()
    return {line.rpartition("/")[2].removesuffix(".jpg") for line in lines}


def _mask(file: StoredFile, _image: bytes) -> bytes:
    with matlab.described(str(file)):
        return encode_png(matlab.mask(matlab.variables(file, "S")["S"]))


DATA_SET = DatasetInfo(
    name="sift_flow",
    class_names=class_lines("sift_flow"),
    colours=voc_colours(34)[1:],
    id_map=consecutive_ids(33, first_id=1, ignore_ids=(0,)),
    splits=("train", "test"),
    source="http://www.cs.unc.edu/~jtighe/Papers/ECCV10 (SiftFlowDataset.zip)",
    preparation=prepare_command("sift_flow", "SiftFlowDataset.zip"),
    description="Outdoor images of 256x256; 33 classes, raw id 0 is unlabelled.",
    full_counts={"train": 2_488, "test": 200},
    entries=entries,
    rule="33 classes, unlabelled pixels (raw 0) are not counted",
)
