"""PASCAL VOC, PASCAL-Context, and COCO with the classes of VOC."""

import dataclasses

from encnet_jax.data.info import (
    DatasetInfo,
    class_lines,
    consecutive_ids,
    prepare_command,
    voc_colours,
)

_VOC_CLASSES = (
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable "
    "dog horse motorbike person pottedplant sheep sofa train tvmonitor"
)


def context_categories() -> dict[int, str]:
    """Returns PASCAL-Context's 59 classes in order: id in the JSON file -> name."""
    pairs = (line.split(" ", 1) for line in class_lines("pascal_context"))
    return {int(number): name for number, name in pairs}


def pascal_context() -> DatasetInfo:
    """PASCAL-Context: raw 0 is background and ignored, 1..59 are the classes."""
    return DatasetInfo(
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
    )


def pascal_context60() -> DatasetInfo:
    """PASCAL-Context with its background as a class of its own."""
    info = pascal_context()
    return dataclasses.replace(
        info,
        name="pascal_context60",
        class_names=("background", *info.class_names),
        colours=voc_colours(60),
        id_map=consecutive_ids(60),
        stored_as="pascal_context",
    )


def pascal_voc() -> DatasetInfo:
    """PASCAL VOC 2012 with SBD; 255 is void, and background is a class."""
    return DatasetInfo(
        name="pascal_voc",
        class_names=tuple(_VOC_CLASSES.split()),
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
    )


def coco_voc() -> DatasetInfo:
    """COCO 2017 with the classes of PASCAL VOC; everything else is background."""
    return DatasetInfo(
        name="coco_voc",
        class_names=tuple(_VOC_CLASSES.split()),
        colours=voc_colours(21),
        id_map=consecutive_ids(21),
        splits=("train", "val"),
        source="https://cocodataset.org",
        preparation=prepare_command(
            "coco_voc",
            "train2017.zip, val2017.zip and annotations_trainval2017.zip",
        ),
    )
