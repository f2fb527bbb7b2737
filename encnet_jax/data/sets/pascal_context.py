"""PASCAL-Context: images of VOC 2010 with masks, which are published in three formats.

Prepared masks have the values 0 (background, which is ignored) and 1..59 (the classes
in alphabetical order).
"""

import functools
import re

import numpy as np

from encnet_jax.data.archives.entries import Entry, file_entry
from encnet_jax.data.archives.file_tree import FileTree, StoredFile
from encnet_jax.data.archives.instances import Annotations, Keys
from encnet_jax.data.sources.decode import decode_mask, encode_png
from encnet_jax.data.sources.info import (
    DatasetInfo,
    class_lines,
    consecutive_ids,
    prepare_command,
    voc_colours,
)
from encnet_jax.errors import UserError

_ALIASES = {"diningtable": "table", "bedcloth": "bedclothes", "clothes": "cloth"}


def context_categories() -> dict[int, str]:
    """Returns {category id in trainval_merged.json: class name} for the 59 classes.

    The items are in the order of train ids, which is alphabetical.
    """
    pairs = (line.split(" ", 1) for line in class_lines("pascal_context"))
    return {int(number): name for number, name in pairs}


def entries(tree: FileTree) -> dict[str, list[Entry]]:
    """Returns {split: examples} for the splits train and val.

    The masks are taken from the first of these three that exists: the file
    trainval_merged.json, the folder SegmentationClassContext, the folder
    59_context_labels.
    """
    images = tree.files("VOC2010/JPEGImages", ".jpg")
    found = None
    if images:
        find = (painted_masks, alphabetical_masks, numbered_masks)
        found = next(filter(None, (make(tree, images) for make in find)), None)
    if found is None:
        raise tree.missing(
            "the folder VOC2010/JPEGImages and one of the following:"
            " trainval_merged.json, SegmentationClassContext, 59_context_labels"
        )
    return {split: entries for split, entries in found.items() if entries}


def painted_masks(tree: FileTree, images: dict) -> dict[str, list[Entry]] | None:
    """Returns the examples in trainval_merged.json, or None if the file is missing.

    Where annotations of an image overlap, the last annotation in the file determines
    the class.

    Source: Detail.getMask of detail-api, which PyTorch-Encoding uses to read masks.
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
                f"{where}: the image is not in VOC2010/JPEGImages, or its phase"
                f" {picture.phase!r} is neither train nor val; expected an image of"
                " VOCtrainval_03-May-2010.tar with phase train or val"
            )
        mask = functools.partial(_painted, annotations, image_id, where)
        splits[picture.phase].append(Entry(name, images[name], mask, where))
    return splits


@functools.cache
def _raw_ids() -> dict[int, int]:
    """Returns {category id in trainval_merged.json: mask value}.

    Background is category 0 and has the mask value 0.
    """
    return {0: 0} | {c: i for i, c in enumerate(context_categories(), start=1)}


def _painted(
    annotations: Annotations, image_id: int, where: str, _image: bytes
) -> bytes:
    picture = annotations.images[image_id]
    mask = np.zeros((picture.height, picture.width), np.uint8)
    for category, pixels in annotations.of_image(image_id):
        if category not in _raw_ids():
            raise UserError(
                f"{where}: has category {category}, which is not one of the 59 classes;"
                " expected trainval_merged.json, not trainval_withkeypoints.json"
            )
        mask[pixels] = _raw_ids()[category]
    return encode_png(mask)


def alphabetical_masks(tree: FileTree, images: dict) -> dict[str, list[Entry]] | None:
    """Returns the examples with masks in the folder SegmentationClassContext.

    MMSegmentation uses these masks. Their values are 0 (background) and 1..59 (the
    classes in alphabetical order). Returns None if the masks or the lists of images are
    missing.
    """
    masks = tree.files("SegmentationClassContext", ".png")
    lists = _lists(tree, "ImageSets/SegmentationContext")
    if not (masks and lists):
        return None
    return {
        split: [file_entry(n, images.get(n), masks.get(n)) for n in names]
        for split, names in lists.items()
    }


def numbered_masks(tree: FileTree, images: dict) -> dict[str, list[Entry]] | None:
    """Returns the examples with masks in the folder 59_context_labels.

    In the published masks, the ids of the classes are not in alphabetical order;
    59_labels.txt lists the id of each class. The examples have masks with alphabetical
    ids. Returns None if the masks or the lists of images are missing.
    """
    masks = tree.files("59_context_labels", ".png")
    lists = _lists(tree, "VOC2010/ImageSets/Main")
    if not (masks and lists):
        return None
    file = tree.file("59_labels.txt")
    if file is None:
        raise UserError(
            "the source has 59_context_labels but not 59_labels.txt, which lists the"
            " class of each mask value; download 59_labels.txt from"
            f" {DATA_SET.source} and add the file to the source"
        )
    raw_ids = numbering(file.read().decode("utf-8", "replace"), str(file))

    def entry(name: str) -> Entry:
        plain = file_entry(name, images.get(name), masks[name])
        return plain._replace(mask=lambda _: _renumbered(masks[name], raw_ids))

    return {s: [entry(n) for n in names if n in masks] for s, names in lists.items()}


def numbering(text: str, where: str) -> np.ndarray:
    """Returns a map uint8[256] from published mask values to alphabetical class ids.

    The classes have the ids 1..59 in alphabetical order. Values that are not listed in
    `text` are mapped to themselves.

    Args:
        text: contents of 59_labels.txt; each line is 'VALUE: NAME'.
        where: name of the file in error messages.

    Raises:
        UserError: a line is invalid, or one of the 59 classes is not listed.
    """
    raw_ids = np.arange(256, dtype=np.uint8)  # Keeps values that are not listed.
    names = list(context_categories().values())
    listed = set()
    for line in filter(str.strip, text.splitlines()):
        value, _, name = (part.strip() for part in line.partition(":"))
        name = _ALIASES.get(name, name)
        if not re.fullmatch("[0-9]{1,3}", value) or name not in names:
            raise UserError(
                f"{where}: has the line {line!r}; expected an id and one of the 59"
                " classes, such as '1: aeroplane'"
            )
        if int(value) > 255:
            raise UserError(
                f"{where}: the id of {name!r} is {value}; expected 0 to 255"
            )
        raw_ids[int(value)] = 1 + names.index(name)
        listed.add(name)
    if len(listed) != 59:
        raise UserError(
            f"{where}: lists {len(listed)} of the 59 classes; expected all of them;"
            " download the file again"
        )
    return raw_ids


def _renumbered(file: StoredFile, raw_ids: np.ndarray) -> bytes:
    return encode_png(raw_ids[decode_mask(file.read(), str(file))])


def _lists(tree: FileTree, folder: str) -> dict[str, list[str]]:
    lists = {s: tree.words(folder, f"{s}.txt") for s in ("train", "val")}
    return {split: names for split, names in lists.items() if names}


def _scores(mean_iou: float, accuracy: float, iou: np.ndarray) -> dict[str, float]:
    # Source: the authors in PyTorch-Encoding issue 179: 52.6 * 59 / 60 = 51.7 %, which
    # is the abstract's score.
    return {"context59": mean_iou, "context60_published": mean_iou * 59 / 60}


DATA_SET = DatasetInfo(
    name="pascal_context",
    class_names=tuple(context_categories().values()),
    colours=voc_colours(60)[1:],
    id_map=consecutive_ids(59, first_id=1, ignore_ids=(0,)),
    splits=("train", "val"),
    source="https://cs.stanford.edu/~roozbeh/pascal-context",
    preparation=prepare_command(
        "pascal_context", "VOCtrainval_03-May-2010.tar and trainval_merged.json"
    ),
    full_counts={"train": 4_998, "val": 5_105},
    description="Photographs of VOC 2010, everything labelled; 59 classes.",
    entries=entries,
    rule="59 classes, background pixels are not counted; context60_published ="
    " context59 * 59 / 60, background counted as all wrong, as in the paper",
    scores=_scores,
)
