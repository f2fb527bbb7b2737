"""PASCAL VOC 2012, with additional training images of SBD.

SBD is the Semantic Boundaries Dataset. In masks, 255 is void, which is ignored;
background (0) is one of the 21 classes.
"""

import functools

from encnet_jax.data.archives import matlab
from encnet_jax.data.archives.entries import Entry, file_entry, unlabelled
from encnet_jax.data.archives.file_tree import FileTree, StoredFile
from encnet_jax.data.sources.decode import encode_png
from encnet_jax.data.sources.info import (
    DatasetInfo,
    Server,
    consecutive_ids,
    prepare_command,
    voc_colours,
)
from encnet_jax.errors import UserError

CLASSES = (
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable "
    "dog horse motorbike person pottedplant sheep sofa train tvmonitor"
)
BACKGROUND_RULE = "background is one of the classes, void pixels are not counted"
_LISTS = "VOC2012/ImageSets/Segmentation"


def entries(tree: FileTree) -> dict[str, list[Entry]]:
    """Returns {split: examples} for train and val, and for aug and test if present.

    The split aug has the images of SBD that are in neither train nor val. The test
    split has no labels: all pixels of its masks are ignored.
    """
    images = tree.files("VOC2012/JPEGImages", ".jpg")
    masks = tree.files("VOC2012/SegmentationClass", ".png")
    lists = {
        split: tree.words(_LISTS, f"{split}.txt") or []
        for split in ("train", "val", "test")
    }
    if not (lists["train"] and lists["val"]):
        raise tree.missing(f"the files train.txt and val.txt in {_LISTS}")
    splits = {
        split: [file_entry(n, images.get(n), masks.get(n)) for n in lists[split] or ()]
        for split in ("train", "val")
    }
    added = added_by_sbd(tree, lists["train"], lists["val"])
    if added:
        splits["aug"] = _sbd_entries(tree, added, images)
    if lists["test"]:
        _check_there(images, lists["test"])
        test = {n: images[n] for n in lists["test"]}
        splits["test"] = unlabelled(DATA_SET.id_map, test)
    return splits


def added_by_sbd(tree: FileTree, train: list[str], val: list[str]) -> list[str]:
    """Returns the sorted names of the images in SBD that VOC's splits do not contain.

    VOC's splits are `train` and `val`. The split `train` and the returned images are
    the 10,582 training images of the EncNet paper.

    Args:
        tree: the published files, with or without SBD.
        train: names of the images in VOC's split train.
        val: names of the images in VOC's split val.

    Raises:
        UserError: an image is in both of VOC's splits.
    """
    if set(train) & set(val):
        raise UserError(
            f"{_LISTS}: {min(set(train) & set(val))} is in train.txt and in val.txt;"
            " download VOCtrainval_11-May-2012.tar again"
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
            f"{folder}: {len(missing)} of the listed files are missing, for example"
            f" {missing[0]}; expected the complete archives; download them again"
        )


def _sbd_mask(file: StoredFile, _image: bytes) -> bytes:
    found = matlab.variables(file, "GTcls")["GTcls"]
    with matlab.described(f"{file}, GTcls.Segmentation"):
        return encode_png(matlab.mask(found["Segmentation"]))


DATA_SET = DatasetInfo(
    name="pascal_voc",
    class_names=tuple(CLASSES.split()),
    colours=voc_colours(21),
    id_map=consecutive_ids(21, ignore_ids=(255,)),
    splits=("train", "val", "aug", "test"),
    source="http://host.robots.ox.ac.uk/pascal/VOC/voc2012",
    preparation=prepare_command(
        "pascal_voc", "VOCtrainval_11-May-2012.tar and SBD's benchmark.tgz"
    ),
    unions={
        "trainval": ("train", "val"),
        "train_aug": ("train", "aug"),
        "train_aug_val": ("train", "aug", "val"),
    },
    unlabelled=("test",),
    full_counts={"train": 1_464, "val": 1_449, "aug": 9_118, "test": 1_456},
    description="Photographs with 20 kinds of objects; raw id 255 is void.",
    entries=entries,
    rule=BACKGROUND_RULE,
    # Source: VOC's development kit and VOCevalseg.m. comp6 is the competition for
    # methods with additional training data; pre-training on ImageNet counts as such.
    server=Server(
        "voc2012",
        "results/VOC2012/Segmentation/comp6_test_cls/",
        (".tgz", ".tar.gz"),
        3,
        tuple(range(21)),
    ),
)
