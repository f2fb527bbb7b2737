"""COCO 2017 with the classes of PASCAL VOC, for training before VOC."""

import functools
from collections.abc import Iterator

import numpy as np

from encnet_jax.data.archives.file_tree import FileTree
from encnet_jax.data.archives.instances import Annotations, Keys
from encnet_jax.data.info import STORED_VERSION
from encnet_jax.data.prepare.builders import segmentation_info
from encnet_jax.data.prepare.builders.examples import Entry, examples, file_tree
from encnet_jax.data.sets.catalogue import named_info
from encnet_jax.data.sources.decode import encode_png
from encnet_jax.data.sources.tensorflow_import import tensorflow_datasets
from encnet_jax.errors import UserError

tfds = tensorflow_datasets()

# COCO's category of each VOC class from aeroplane on.
CATEGORIES = (5, 2, 16, 9, 44, 6, 3, 17, 62, 21, 67, 18, 19, 4, 1, 64, 20, 63, 7, 72)
MIN_PIXELS = 1_000  # An image needs more foreground than this.


class CocoVoc(tfds.core.GeneratorBasedBuilder):
    """Writes the images of COCO that show enough of VOC's classes.

    Source: the paper, section 3.3, and PyTorch-Encoding datasets/coco.py. The paper
    counts 6.5K images; this rule, which is the released code's, keeps far more.
    """

    name = "coco_voc"
    VERSION = tfds.core.Version(STORED_VERSION)
    MANUAL_DOWNLOAD_INSTRUCTIONS = named_info("coco_voc").preparation

    def _info(self) -> tfds.core.DatasetInfo:
        return segmentation_info(
            self,
            description="Photographs with the 20 kinds of objects of PASCAL VOC.",
            homepage=named_info("coco_voc").source,
        )

    def _split_generators(self, dl_manager) -> dict:
        tree = file_tree(self, dl_manager)
        splits = {}
        for split in named_info(self.name).splits:
            entries = _entries(tree, f"{split}2017")
            if entries:
                splits[split] = entries
        if not splits:
            raise tree.missing("annotations/instances_train2017.json and train2017")
        return {s: self._generate_examples(s, e) for s, e in splits.items()}

    def _generate_examples(self, split, entries) -> Iterator[tuple[int, dict]]:
        return examples(named_info(self.name), split, entries)


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
            f"{file}: no image has an object of the classes; wanted the instances of"
            " annotations_trainval2017.zip"
        )
    images = tree.files(folder, "")
    entries = []
    for image_id in annotations.annotated():
        name = annotations.images[image_id].file_name
        if name not in images:
            raise UserError(f"{file}: lists {name}, which is not in {folder}; add it")
        mask = functools.partial(_mask, annotations, image_id)
        where = f"{file}, image {image_id}"
        entries.append(Entry(name.removesuffix(".jpg"), images[name], mask, where))
    return entries


def _mask(annotations: Annotations, image_id: int, _image: bytes) -> bytes | None:
    picture = annotations.images[image_id]
    mask = np.zeros((picture.height, picture.width), np.uint8)
    for category, pixels in annotations.of_image(image_id):
        mask[pixels & (mask == 0)] = 1 + CATEGORIES.index(category)  # The first wins.
    return encode_png(mask) if np.count_nonzero(mask) > MIN_PIXELS else None
