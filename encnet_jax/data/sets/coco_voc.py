"""COCO 2017 with the classes of PASCAL VOC, for pre-training.

Pixels of other COCO categories are background. Images with 1,000 or fewer foreground
pixels are skipped.

Source: the EncNet paper, section 3.3, and PyTorch-Encoding datasets/coco.py. The paper
reports 6.5K images; the limit of 1,000 pixels, from the authors' code, keeps far more.
"""

import functools

import numpy as np

from encnet_jax.data.archives.entries import Entry
from encnet_jax.data.archives.file_tree import FileTree
from encnet_jax.data.archives.instances import Annotations, Keys
from encnet_jax.data.sets.pascal_voc import BACKGROUND_RULE, CLASSES
from encnet_jax.data.sources.decode import encode_png
from encnet_jax.data.sources.info import (
    DatasetInfo,
    consecutive_ids,
    prepare_command,
    voc_colours,
)
from encnet_jax.errors import UserError

# COCO's category id of each VOC class, starting with aeroplane.
CATEGORIES = (5, 2, 16, 9, 44, 6, 3, 17, 62, 21, 67, 18, 19, 4, 1, 64, 20, 63, 7, 72)
MIN_PIXELS = 1_000  # Images with at most this many foreground pixels are skipped.


def entries(tree: FileTree) -> dict[str, list[Entry]]:
    """Returns {split: examples} for the splits that the published files contain."""
    splits = {}
    for split in DATA_SET.splits:
        entries = _entries(tree, f"{split}2017")
        if entries:
            splits[split] = entries
    if not splits:
        raise tree.missing(
            "annotations/instances_train2017.json and the folder train2017"
        )
    return splits


def _entries(tree: FileTree, folder: str) -> list[Entry]:
    file = tree.file(f"instances_{folder}.json")
    if file is None:
        return []
    annotations = Annotations(
        tree.local(file),
        str(file),
        Keys(annotations="annotations", image_id="id"),
        keep=lambda annotation: annotation["category_id"] in CATEGORIES,
    )
    if not annotations.annotated():
        raise UserError(
            f"{file}: no image has an object of the 20 classes of PASCAL VOC; expected"
            " the file from annotations_trainval2017.zip"
        )
    images = tree.files(folder, "")
    entries = []
    for image_id in annotations.annotated():
        name = annotations.images[image_id].file_name
        if name not in images:
            raise UserError(
                f"{file}: lists the image {name}, which is not in the folder {folder};"
                " add the image"
            )
        mask = functools.partial(_mask, annotations, image_id)
        where = f"{file}, image {image_id}"
        entries.append(Entry(name.removesuffix(".jpg"), images[name], mask, where))
    return entries


def _mask(annotations: Annotations, image_id: int, _image: bytes) -> bytes | None:
    picture = annotations.images[image_id]
    mask = np.zeros((picture.height, picture.width), np.uint8)
    for category, pixels in annotations.of_image(image_id):
        # Where objects overlap, the pixels keep the first object's class.
        mask[pixels & (mask == 0)] = 1 + CATEGORIES.index(category)
    return encode_png(mask) if np.count_nonzero(mask) > MIN_PIXELS else None


DATA_SET = DatasetInfo(
    name="coco_voc",
    class_names=tuple(CLASSES.split()),
    colours=voc_colours(21),
    id_map=consecutive_ids(21),
    splits=("train", "val"),
    source="https://cocodataset.org",
    preparation=prepare_command(
        "coco_voc",
        "train2017.zip, val2017.zip and annotations_trainval2017.zip",
    ),
    description="Photographs with the 20 kinds of objects of PASCAL VOC.",
    entries=entries,
    rule=BACKGROUND_RULE,
)
