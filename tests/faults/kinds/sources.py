"""Sources of Cityscapes, COCO, Context, VOC: truncated, renamed, other releases."""

import json
import pathlib
import shutil
from collections.abc import Callable

import made_datasets
from fixtures import PREPARE, command
from registry import case

MAKERS = {
    "ade20k": made_datasets.ade20k,
    "cityscapes": made_datasets.cityscapes,
    "coco_voc": made_datasets.coco_voc,
    "pascal_context": made_datasets.pascal_context,
    "pascal_voc": made_datasets.pascal_voc,
}


def source(
    name: str, what: str, says: str, change: Callable, statuses=2, kind: str = ""
) -> None:
    """Registers prepare on a source that was changed, as a folder or an archive.

    Args:
        name: of the data set.
        what: was changed.
        says: what prepare must say.
        change: gets the folder of the source.
        statuses: that are right.
        kind: of archive, '' for the folder itself.
    """

    @case(f"new {name}: {what}, prepare", statuses, says)
    def run(root):
        MAKERS[name](root / "s")
        change(root / "s")
        place = root / "s"
        if kind:
            place = shutil.make_archive(str(root / "a"), kind, root / "s")
        yield command(PREPARE, name, f"--source={place}", f"--data_dir={root}/d")
        assert statuses == 0 or not list((root / "d").rglob("*.array_record*"))


def first(folder: pathlib.Path, pattern: str) -> pathlib.Path:
    return sorted(folder.rglob(pattern))[0]


def truncate(pattern: str) -> Callable:
    def change(folder):
        path = first(folder, pattern)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return change


def remove(pattern: str) -> Callable:
    def change(folder):
        path = first(folder, pattern)
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def rename(pattern: str, new: str) -> Callable:
    return lambda folder: (path := first(folder, pattern)).rename(path.with_name(new))


def edit(pattern: str, change: Callable) -> Callable:
    """Changes the JSON file that is found."""

    def changed(folder):
        path = first(folder, pattern)
        value = json.loads(path.read_text())
        change(value)
        path.write_text(json.dumps(value))

    return changed


# Cityscapes: of other releases, half unpacked, renamed.
CITY = "cityscapes"
source(CITY, "a truncated image", "leftImg8bit.png", truncate("*leftImg8bit.png"))
source(CITY, "a truncated mask", "labelIds.png", truncate("train/*/*labelIds.png"))
source(CITY, "a mask is missing", "has no mask", remove("train/*/*labelIds.png"))
source(CITY, "gtCoarse for gtFine", "gtFine", remove("gtFine"))
source(CITY, "the 8-bit images are missing", "leftImg8bit", remove("leftImg8bit"))
source(CITY, "all in one archive", "next: ", lambda folder: None, 0, "zip")

# COCO: other years, a truncated list, segmentations that are none.
COCO, LIST = "coco_voc", "instances_train2017.json"
source(COCO, "a truncated list", LIST, truncate(LIST))
source(COCO, "an image is missing", "train2017", remove("train2017"))
older = rename(LIST, "instances_train2014.json")
source(COCO, "the list of 2014", "coco_voc train: not in the source", older, 0)
source(COCO, "a list of captions", LIST, edit(LIST, lambda x: x.pop("annotations")))
source(COCO, "a truncated image", ".jpg", truncate("*.jpg"))
for what, value in {
    "odd polygons": [[1, 2, 3, 4, 5, 6, 7]],
    "texts for numbers": [["a"] * 6],
    "run lengths of another image": {"size": [9, 9], "counts": [81]},
    "run lengths beyond the image": {"size": [40, 56], "counts": [99999]},
    "no run lengths": {"size": [40, 56], "counts": None},
}.items():
    change = edit(LIST, lambda x, v=value: x["annotations"][0].update(segmentation=v))
    source(COCO, what, LIST, change)

# Context: of VOC 2010, with the list of its own.
CONTEXT, MERGED = "pascal_context", "trainval_merged.json"
source(CONTEXT, "a truncated list", MERGED, truncate(MERGED))
source(CONTEXT, "no list", MERGED, remove(MERGED))
source(CONTEXT, "VOC 2012 for 2010", "VOC2010", rename("VOC2010", "VOC2012"))
source(CONTEXT, "an image is missing", "2008_000002", remove("*.jpg"))
unknown = edit(MERGED, lambda x: x["annos_segmentation"][0].update(category_id=9999))
source(CONTEXT, "an unknown category", "9999", unknown)

# VOC and the SBD's annotations.
VOC = "pascal_voc"
source(VOC, "a truncated mask", ".png", truncate("SegmentationClass/*.png"))
source(VOC, "a truncated .mat", ".mat", truncate("cls/2007_000004.mat"))
source(VOC, "a list is missing", "train.txt", remove("VOCdevkit/VOC2012/**/train.txt"))
source(VOC, "VOC 2007 for 2012", "VOC2012", rename("VOC2012", "VOC2007"))
source(VOC, "an image is missing", "has no image", remove("JPEGImages/*.jpg"))
source(
    "ade20k", "an annotation is missing", "has no mask", remove("annotations/*/*.png")
)


@case(
    "new another data set's archive, prepare",
    2,
    "expected folders leftImg8bit/train/CITY",
)
def other(root):
    made_datasets.pascal_voc(root / "s")
    path = shutil.make_archive(str(root / "a"), "zip", root / "s")
    yield command(PREPARE, "cityscapes", f"--source={path}", f"--data_dir={root}/d")


@case(
    "new COCO's list without its images, prepare", 2, "is not in the folder train2017"
)
def coco_without_images(root):
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 9, "width": 9}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": []}],
    }
    (root / "s").mkdir()
    (root / "s/instances_train2017.json").write_text(json.dumps(content))
    yield command(PREPARE, "coco_voc", f"--source={root}/s", f"--data_dir={root}/d")
