"""PASCAL-Context: VOC 2010 images, with masks of three makes."""

import functools
from collections.abc import Iterator

import numpy as np

from encnet_jax.data.archives.file_tree import FileTree, StoredFile
from encnet_jax.data.archives.instances import Annotations, Keys
from encnet_jax.data.info import STORED_VERSION
from encnet_jax.data.prepare.builders import segmentation_info
from encnet_jax.data.prepare.builders.examples import (
    Entry,
    examples,
    file_entry,
    file_tree,
)
from encnet_jax.data.sets.catalogue import named_info
from encnet_jax.data.sets.pascal import context_categories
from encnet_jax.data.sources.decode import decode_mask, encode_png
from encnet_jax.data.sources.tensorflow_import import tensorflow_datasets
from encnet_jax.errors import UserError

tfds = tensorflow_datasets()

_ALIASES = {"diningtable": "table", "bedcloth": "bedclothes", "clothes": "cloth"}


class PascalContext(tfds.core.GeneratorBasedBuilder):
    """Writes train and val; raw 0 is background, 1..59 the classes by alphabet."""

    name = "pascal_context"
    VERSION = tfds.core.Version(STORED_VERSION)
    MANUAL_DOWNLOAD_INSTRUCTIONS = named_info("pascal_context").preparation

    def _info(self) -> tfds.core.DatasetInfo:
        return segmentation_info(
            self,
            description="Photographs of VOC 2010, everything labelled; 59 classes.",
            homepage=named_info("pascal_context").source,
        )

    def _split_generators(self, dl_manager) -> dict:
        tree = file_tree(self, dl_manager)
        images = tree.files("VOC2010/JPEGImages", ".jpg")
        found = None
        if images:
            find = (painted_masks, alphabetical_masks, numbered_masks)
            found = next(filter(None, (make(tree, images) for make in find)), None)
        if found is None:
            raise tree.missing(
                "VOC2010/JPEGImages and one of trainval_merged.json, "
                "SegmentationClassContext or 59_context_labels"
            )
        return {s: self._generate_examples(s, e) for s, e in found.items() if e}

    def _generate_examples(self, split, entries) -> Iterator[tuple[int, dict]]:
        return examples(named_info(self.name), split, entries)


def painted_masks(tree: FileTree, images: dict) -> dict[str, list[Entry]] | None:
    """Returns the splits of trainval_merged.json, None where it is missing.

    Objects and regions are painted in the order of the file, crowds too, later ones
    over earlier ones.

    Source: detail-api, Detail.getMask, which PyTorch-Encoding reads masks with.
    """
    file = tree.file("trainval_merged.json")
    if file is None:
        return None
    annotations = Annotations(
        tree.local(file),
        str(file),
        Keys(annotations="annos_segmentation", image_id="image_id"),
        keep=lambda annotation: True,
    )
    splits: dict[str, list[Entry]] = {"train": [], "val": []}
    for image_id in annotations.annotated():
        picture = annotations.images[image_id]
        name = picture.file_name.removesuffix(".jpg")
        where = f"{file}, image {name}"
        if name not in images or picture.phase not in splits:
            raise UserError(
                f"{where} ({picture.phase!r}) is not in VOC2010/JPEGImages or in train "
                "or val; wanted the images of VOCtrainval_03-May-2010.tar"
            )
        mask = functools.partial(_painted, annotations, image_id, where)
        splits[picture.phase].append(Entry(name, images[name], mask, where))
    return splits


@functools.cache
def _raw_ids() -> dict[int, int]:
    """Category of the JSON file -> raw id; 0 is background, painted like the others."""
    return {0: 0} | {c: i for i, c in enumerate(context_categories(), start=1)}


def _painted(
    annotations: Annotations, image_id: int, where: str, _image: bytes
) -> bytes:
    picture = annotations.images[image_id]
    mask = np.zeros((picture.height, picture.width), np.uint8)
    for category, pixels in annotations.of_image(image_id):
        if category not in _raw_ids():
            raise UserError(
                f"{where}: has category {category}, none of the 59; wanted "
                "trainval_merged.json, not trainval_withkeypoints.json"
            )
        mask[pixels] = _raw_ids()[category]
    return encode_png(mask)


def alphabetical_masks(tree: FileTree, images: dict) -> dict[str, list[Entry]] | None:
    """Returns index PNGs 0..59 by alphabet, as MMSegmentation's converter makes."""
    masks = tree.files("SegmentationClassContext", ".png")
    lists = _lists(tree, "ImageSets/SegmentationContext")
    if not (masks and lists):
        return None
    return {
        split: [file_entry(n, images.get(n), masks.get(n)) for n in names]
        for split, names in lists.items()
    }


def numbered_masks(tree: FileTree, images: dict) -> dict[str, list[Entry]] | None:
    """Returns the index PNGs of 59_context_labels.tar.gz, numbered by 59_labels.txt.

    The classes are not in alphabetical order; only the list gives their order.
    """
    masks = tree.files("59_context_labels", ".png")
    lists = _lists(tree, "VOC2010/ImageSets/Main")
    if not (masks and lists):
        return None
    file = tree.file("59_labels.txt")
    if file is None:
        raise UserError(
            "the source has 59_context_labels without 59_labels.txt, which numbers the "
            "classes in an order of its own; get it from the same page and add it"
        )
    raw_ids = numbering(file.read().decode(), str(file))

    def entry(name: str) -> Entry:
        plain = file_entry(name, images.get(name), masks[name])
        return plain._replace(mask=lambda _: _renumbered(masks[name], raw_ids))

    return {s: [entry(n) for n in names if n in masks] for s, names in lists.items()}


def numbering(text: str, where: str) -> np.ndarray:
    """Returns uint8[256], value in the masks -> raw id, from lines 'value: name'.

    Raises:
        UserError: these are not the 59 classes.
    """
    raw_ids = np.arange(256, dtype=np.uint8)  # Values that are not listed stay unknown.
    names = list(context_categories().values())
    listed = set()
    for line in filter(str.strip, text.splitlines()):
        value, _, name = (part.strip() for part in line.partition(":"))
        name = _ALIASES.get(name, name)
        if not value.isdigit() or name not in names:
            raise UserError(f"{where}: found {line!r}; wanted one of the 59 classes")
        raw_ids[int(value)] = 1 + names.index(name)
        listed.add(name)
    if len(listed) != 59:
        raise UserError(f"{where}: lists {len(listed)} classes; wanted 59")
    return raw_ids


def _renumbered(file: StoredFile, raw_ids: np.ndarray) -> bytes:
    return encode_png(raw_ids[decode_mask(file.read(), str(file))])


def _lists(tree: FileTree, folder: str) -> dict[str, list[str]]:
    lists = {s: tree.words(folder, f"{s}.txt") for s in ("train", "val")}
    return {split: names for split, names in lists.items() if names}
