"""PASCAL VOC 2012, and SBD's further masks for its images."""

import functools
import io
from collections.abc import Iterator

import numpy as np
import scipy.io

from encnet_jax.data.archives.file_tree import FileTree, StoredFile
from encnet_jax.data.info import STORED_VERSION
from encnet_jax.data.prepare.builders import segmentation_info
from encnet_jax.data.prepare.builders.examples import (
    Entry,
    examples,
    file_entry,
    file_tree,
    unlabelled,
)
from encnet_jax.data.sets.catalogue import named_info
from encnet_jax.data.sources.decode import encode_png
from encnet_jax.data.sources.tensorflow_import import tensorflow_datasets
from encnet_jax.errors import UserError

tfds = tensorflow_datasets()

_LISTS = "VOC2012/ImageSets/Segmentation"


class PascalVoc(tfds.core.GeneratorBasedBuilder):
    """Writes train, val, test and `aug`: what SBD adds to train, without val."""

    name = "pascal_voc"
    VERSION = tfds.core.Version(STORED_VERSION)
    MANUAL_DOWNLOAD_INSTRUCTIONS = named_info("pascal_voc").preparation

    def _info(self) -> tfds.core.DatasetInfo:
        return segmentation_info(
            self,
            description="Photographs with 20 kinds of objects; raw id 255 is void.",
            homepage=named_info("pascal_voc").source,
        )

    def _split_generators(self, dl_manager) -> dict:
        tree = file_tree(self, dl_manager)
        images = tree.files("VOC2012/JPEGImages", ".jpg")
        masks = tree.files("VOC2012/SegmentationClass", ".png")
        lists = {s: tree.words(_LISTS, f"{s}.txt") for s in ("train", "val", "test")}
        if not (lists["train"] and lists["val"]):
            raise tree.missing(f"{_LISTS}/train.txt and val.txt, JPEGImages, ...")
        splits = {
            split: [file_entry(n, images.get(n), masks.get(n)) for n in lists[split]]
            for split in ("train", "val")
        }
        added = added_by_sbd(tree, lists["train"], lists["val"])
        if added:
            splits["aug"] = _sbd_entries(tree, added, images)
        if lists["test"]:
            _check_there(images, lists["test"])
            test = {n: images[n] for n in lists["test"]}
            splits["test"] = unlabelled(named_info(self.name), test)
        return {s: self._generate_examples(s, e) for s, e in splits.items()}

    def _generate_examples(self, split, entries) -> Iterator[tuple[int, dict]]:
        return examples(named_info(self.name), split, entries)


def added_by_sbd(tree: FileTree, train: list[str], val: list[str]) -> list[str]:
    """Returns (SBD train + SBD val) minus VOC train minus VOC val, sorted.

    Together with VOC train these are the 10,582 images of the paper. VOC's own masks
    are kept where there are both.

    Raises:
        UserError: VOC's two lists overlap, so that scores on val would mean nothing.
    """
    if set(train) & set(val):
        raise UserError(
            f"{_LISTS}: {min(set(train) & set(val))} is in train.txt and in val.txt; "
            "get VOCtrainval_11-May-2012.tar again"
        )
    sbd = [tree.words("dataset", f"{s}.txt") or [] for s in ("train", "val")]
    return sorted({*sbd[0], *sbd[1]} - {*train, *val})


def _sbd_entries(
    tree: FileTree, names: list[str], voc_images: dict[str, StoredFile]
) -> list[Entry]:
    images = tree.files("dataset/img", ".jpg") | voc_images
    masks = tree.files("dataset/cls", ".mat")
    _check_there(images, names)
    _check_there(masks, names)
    return [
        Entry(n, images[n], functools.partial(_sbd_mask, masks[n]), str(masks[n]))
        for n in names
    ]


def _check_there(files: dict[str, StoredFile], names: list[str]) -> None:
    missing = [name for name in names if name not in files]
    if missing:
        folder = str(next(iter(files.values()), "the source")).rpartition("/")[0]
        raise UserError(
            f"{folder}: lacks {missing[0]} and {len(missing) - 1} others that are "
            "listed; wanted the whole archives"
        )


def _sbd_mask(file: StoredFile, _image: bytes) -> bytes:
    try:
        contents = scipy.io.loadmat(io.BytesIO(file.read()), variable_names="GTcls")
        mask = contents["GTcls"]["Segmentation"][0, 0]
    except (KeyError, IndexError, TypeError, ValueError, OSError) as error:
        raise UserError(
            f"{file}: found no GTcls.Segmentation ({error}); get SBD's benchmark.tgz"
        ) from None
    return encode_png(np.asarray(mask, np.uint8))
