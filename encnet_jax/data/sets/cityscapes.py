"""Cityscapes: images of streets; 19 of the 34 label ids in the masks are classes.

The splits train, val and test are in leftImg8bit_trainvaltest.zip and
gtFine_trainvaltest.zip. The split train_extra, which is labelled coarsely, is in
leftImg8bit_trainextra.zip and gtCoarse.zip.
"""

import numpy as np

from encnet_jax.data.archives.entries import Entry, pairs, unlabelled
from encnet_jax.data.archives.file_tree import FileTree
from encnet_jax.data.sources.info import (
    UNKNOWN_ID,
    DatasetInfo,
    Server,
    class_lines,
    prepare_command,
)
from encnet_jax.errors import UserError
from encnet_jax.labels import IGNORE_LABEL

_FIELDS = [line.split(" ", 4) for line in class_lines("cityscapes")]
_LABEL_IDS = tuple(int(fields[0]) for fields in _FIELDS)
_ID_MAP = np.full(256, UNKNOWN_ID, np.uint8)
_ID_MAP[:34] = IGNORE_LABEL
_ID_MAP[list(_LABEL_IDS)] = np.arange(len(_FIELDS))

_COARSE = "train_extra"  # 23 further cities, labelled by coarse polygons.


def entries(tree: FileTree) -> dict[str, list[Entry]]:
    """Returns {split: examples} for the splits that the published files contain.

    The test split has no labels: all pixels of its masks are ignored.
    """
    splits = {}
    for split in DATA_SET.splits:
        images = tree.files(f"leftImg8bit/{split}/*", "_leftImg8bit.png")
        kind = "gtCoarse" if split == _COARSE else "gtFine"
        masks = tree.files(f"{kind}/{split}/*", f"_{kind}_labelIds.png")
        if images and split in DATA_SET.unlabelled:
            splits[split] = unlabelled(_ID_MAP, images)
        elif images and not masks:
            _check_train_ids(tree, kind, split)
            raise tree.missing(
                f"folders {kind}/{split}/CITY next to leftImg8bit/{split}"
            )
        elif images:
            splits[split] = pairs(images, masks)
    if not splits:
        raise tree.missing("folders leftImg8bit/train/CITY and gtFine/train/CITY")
    return splits


def _check_train_ids(tree: FileTree, kind: str, split: str) -> None:
    """Raises UserError if the masks of a split contain train ids, not label ids."""
    if tree.files(f"{kind}/{split}/*", f"_{kind}_labelTrainIds.png"):
        raise UserError(
            f"{kind}/{split} has files *_{kind}_labelTrainIds.png but no"
            f" *_{kind}_labelIds.png; expected the labelIds files of the official"
            " archives; add the labelIds files: their ids are mapped to train ids"
        )


DATA_SET = DatasetInfo(
    name="cityscapes",
    class_names=tuple(f[4] for f in _FIELDS),
    colours=np.array([f[1:4] for f in _FIELDS], np.uint8),
    id_map=_ID_MAP,
    splits=("train", "val", "test", _COARSE),
    source="https://www.cityscapes-dataset.com",
    preparation=prepare_command(
        "cityscapes",
        "leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip",
    ),
    unlabelled=("test",),
    full_counts={"train": 2_975, "val": 500, "test": 1_525, _COARSE: 19_998},
    description="Street scenes of 50 cities; 19 of its 34 labels are classes.",
    entries=entries,
    # Source: cityscapesscripts, evalPixelLevelSemanticLabeling.py: label ids, files
    # CITY_SEQUENCE_FRAME*.png anywhere in the archive.
    server=Server("cityscapes", "", (".zip",), 0, _LABEL_IDS),
)
