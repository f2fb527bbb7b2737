"""Small data sets in the exact layout of the official archives, with their truth.

Each function writes into a folder and returns split -> name -> u8[H, W] of train ids.
"""

import io
import json
import pathlib

import numpy as np
import scipy.io
from PIL import Image
from pycocotools import mask as coco_mask

from encnet_jax.data.sets.coco_voc import CATEGORIES

SIZES = ((48, 64), (40, 56), (56, 40))


def write(path: pathlib.Path, contents: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(contents.encode() if isinstance(contents, str) else contents)


def image(seed: int, format="JPEG") -> bytes:
    """An encoded image of noise; its size depends on the seed."""
    height, width = SIZES[seed % len(SIZES)]
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format)
    return buffer.getvalue()


def raw_mask(seed: int, values) -> np.ndarray:
    """u8[H, W] of blocks with the given values, as large as image(seed)."""
    height, width = SIZES[seed % len(SIZES)]
    rng = np.random.default_rng(seed + 1000)
    blocks = rng.choice(np.array(values, np.uint8), (height // 8, width // 8))
    return blocks.repeat(8, 0).repeat(8, 1)


def png(mask: np.ndarray, palette=False) -> bytes:
    picture, buffer = Image.fromarray(mask), io.BytesIO()
    if palette:
        picture.putpalette(list(range(256)) * 3)
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def ade20k(root: pathlib.Path) -> dict:
    base = root / "ADEChallengeData2016"
    truth = {"train": {}, "val": {}, "test": {}}
    for split, folder, count in (("train", "training", 4), ("val", "validation", 3)):
        for i in range(1, count + 1):
            name = f"ADE_{split}_{i:08d}"
            mask = raw_mask(i, range(151))
            write(base / "images" / folder / f"{name}.jpg", image(i))
            write(base / "annotations" / folder / f"{name}.png", png(mask))
            truth[split][name] = np.where(mask == 0, 255, mask - 1).astype(np.uint8)
    for i in range(1, 3):
        name = f"ADE_test_{i:08d}"
        write(root / "release_test" / "testing" / f"{name}.jpg", image(i + 20))
        truth["test"][name] = np.full(raw_mask(i + 20, [0]).shape, 255, np.uint8)
    write(base / "objectInfo150.txt", "Idx\tRatio\tTrain\tVal\tName\n")
    write(root / "release_test" / "list.txt", "ADE_test_00000001.jpg\n")
    return truth


def voc_images(base: pathlib.Path, names: list[str]) -> None:
    for i, name in enumerate(names):
        write(base / "JPEGImages" / f"{name}.jpg", image(i))


VOC_NAMES = [f"2007_{i:06d}" for i in range(10)]


def pascal_voc(root: pathlib.Path) -> dict:
    """VOC train 0, 1; val 2, 3; test 8, 9; SBD train 1, 2, 4, 5 and val 3, 6, 7."""
    base, sbd = root / "VOCdevkit/VOC2012", root / "benchmark_RELEASE/dataset"
    voc_images(base, VOC_NAMES)
    truth = {"train": {}, "val": {}, "aug": {}, "test": {}}
    for split, numbers in (("train", (0, 1)), ("val", (2, 3)), ("test", (8, 9))):
        names = [VOC_NAMES[i] for i in numbers]
        write(base / f"ImageSets/Segmentation/{split}.txt", "\n".join(names) + "\n")
        for i, name in zip(numbers, names, strict=True):
            mask = raw_mask(i, [*range(21), 255])
            if split != "test":
                write(base / f"SegmentationClass/{name}.png", png(mask, palette=True))
            truth[split][name] = mask if split != "test" else np.full_like(mask, 255)
    for split, numbers in (("train", (1, 2, 4, 5)), ("val", (3, 6, 7))):
        names = [VOC_NAMES[i] for i in numbers]
        write(sbd / f"{split}.txt", "\n".join(names) + "\n")
        for i, name in zip(numbers, names, strict=True):
            mask = raw_mask(i + 50 * 3, range(21))  # Unlike VOC's own mask.
            file = io.BytesIO()
            classes = np.unique(mask)[1:, None]
            contents = {"Segmentation": mask, "CategoriesPresent": classes}
            scipy.io.savemat(file, {"GTcls": {"Boundaries": [], **contents}})
            write(sbd / f"cls/{name}.mat", file.getvalue())
            write(sbd / f"img/{name}.jpg", image(i))
            if i >= 4:
                truth["aug"][name] = mask
    return truth


def cityscapes(root: pathlib.Path) -> dict:
    train_ids = np.full(256, 255, np.uint8)
    ids = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    train_ids[ids] = np.arange(19)
    truth = {"train": {}, "val": {}, "test": {}, "train_extra": {}}
    cities = [("train", "aachen"), ("train", "ulm"), ("val", "munster")]
    cities += [("test", "bonn"), ("train_extra", "augsburg")]
    for i, (split, city) in enumerate(cities):
        name = f"{city}_000000_{i:06d}"
        mask = raw_mask(i, range(34))
        file = f"{split}/{city}/{name}"
        write(root / f"leftImg8bit/{file}_leftImg8bit.png", image(i, "PNG"))
        kind = "gtCoarse" if split == "train_extra" else "gtFine"
        write(root / f"{kind}/{file}_{kind}_labelIds.png", png(mask))
        write(root / f"{kind}/{file}_{kind}_instanceIds.png", png(mask))
        truth[split][name] = np.full_like(mask, 255)
        if split != "test":
            truth[split][name] = train_ids[mask]
    return truth


def box(shape, top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[top:bottom, left:right] = True
    return mask


def run_lengths(mask: np.ndarray) -> list[int]:
    """Lengths of the runs of 0, 1, 0, ... down the columns."""
    flat = mask.ravel(order="F").astype(int)
    ends = np.flatnonzero(np.diff(flat, prepend=0)).tolist()
    return np.diff([0, *ends, flat.size]).tolist()


def compressed(mask: np.ndarray) -> dict:
    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(mask.shape), "counts": encoded["counts"].decode()}


def rectangle(top: int, left: int, bottom: int, right: int) -> list[float]:
    """A polygon around box(top, left, bottom, right)."""
    return [left, top, right, top, right, bottom, left, bottom]


def coco_voc(root: pathlib.Path) -> dict:
    """Per split one image of enough foreground, one of too little, one of none."""
    truth = {"train": {}, "val": {}}
    for split, first in (("train", 1), ("val", 7)):
        images, annotations = [], []

        def annotate(image_id, category, segmentation, iscrowd=0, to=annotations):
            to.append(
                {
                    "id": len(to) + 1,
                    "image_id": image_id,
                    "category_id": category,
                    "iscrowd": iscrowd,
                    "segmentation": segmentation,
                }
            )

        for i in range(first, first + 3):
            shape = raw_mask(i, [0]).shape
            name = f"{i:012d}"
            write(root / f"{split}2017/{name}.jpg", image(i))
            images.append(
                {
                    "id": i,
                    "file_name": f"{name}.jpg",
                    "height": shape[0],
                    "width": shape[1],
                }
            )
        shape = raw_mask(first, [0]).shape
        crowd, thing = box(shape, 10, 10, 40, 40), box(shape, 0, 20, 30, 30)
        # A person in two parts; a crowd of horses under it; a clock, which is no class;
        # a boat under both.
        annotate(first, 1, [rectangle(2, 2, 30, 14), rectangle(32, 2, 38, 14)])
        counts = {"size": list(shape), "counts": run_lengths(crowd)}
        annotate(first, 19, counts, iscrowd=1)
        annotate(first, 85, [rectangle(0, 0, 40, 50)])
        annotate(first, 9, compressed(thing))
        label = np.zeros(shape, np.uint8)
        label[thing] = 1 + CATEGORIES.index(9)
        label[crowd] = 1 + CATEGORIES.index(19)
        label[box(shape, 2, 2, 30, 14) | box(shape, 32, 2, 38, 14)] = 15
        truth[split][f"{first:012d}"] = label
        annotate(first + 1, 1, [rectangle(0, 0, 25, 40)])  # 1,000 pixels: too few.
        annotate(first + 2, 85, [rectangle(0, 0, 40, 40)])
        file = root / f"annotations/instances_{split}2017.json"
        contents = {"info": {"year": 2017}, "licenses": [], "images": images}
        categories = [{"id": 1, "name": "person"}]
        contents |= {"annotations": annotations, "categories": categories}
        write(file, json.dumps(contents))
    return truth


CONTEXT_NAMES = ["2008_000002", "2008_000003", "2008_000007", "2010_000001"]


def _context_layers(i: int) -> list[tuple[int, int, np.ndarray]]:
    """(category in the file, raw id by alphabet, pixels), painted in this order."""
    shape = raw_mask(i, [0]).shape
    return [
        (360, 47, box(shape, 0, 0, 20, 40)),  # sky
        (2, 1, box(shape, 10, 10, 30, 30)),  # aeroplane, over the sky
        (0, 0, box(shape, 12, 12, 16, 16)),  # background, over the aeroplane
        (458, 59, box(shape, 30 - i, 0, 40, 20)),  # wood
    ]


def pascal_context(root: pathlib.Path) -> dict:
    """VOC 2010 with trainval_merged.json; raw ids 0 (ignored) and 1..59."""
    voc_images(root / "VOCdevkit/VOC2010", CONTEXT_NAMES)
    truth = {"train": {}, "val": {}}
    images, annotations = [], []
    for i, name in enumerate(CONTEXT_NAMES):
        layers = _context_layers(i)
        raw = np.zeros(layers[0][2].shape, np.uint8)
        for category, raw_id, pixels in layers:
            raw[pixels] = raw_id
            annotations.append(
                {
                    "id": len(annotations),
                    "image_id": 2008000000 + i,
                    "category_id": category,
                    "iscrowd": int(category == 360),
                    "segmentation": compressed(pixels),
                }
            )
        split = "train" if i < 2 else "val"
        truth[split][name] = np.where(raw == 0, 255, raw - 1).astype(np.uint8)
        images.append(
            {
                "image_id": 2008000000 + i,
                "file_name": f"{name}.jpg",
                "phase": split,
                "height": raw.shape[0],
                "width": raw.shape[1],
            }
        )
    contents = {"info": {}, "images": images, "annos_segmentation": annotations}
    write(root / "trainval_merged.json", json.dumps(contents | {"parts": []}))
    return truth


def context_lists(base: pathlib.Path, folder: str) -> None:
    for split, names in (("train", CONTEXT_NAMES[:2]), ("val", CONTEXT_NAMES[2:])):
        write(base / "ImageSets" / folder / f"{split}.txt", "\n".join(names) + "\n")


def nyuv2(root: pathlib.Path) -> dict:
    """Five images of 64x48: train 1, 4, 5 and test 2, 3, counted from 1.

    Arrays of the HDF5 file have MATLAB's axes reversed: [N, 3, W, H] and [N, W, H].
    """
    import h5py

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, 3, 64, 48), np.uint8)
    labels = rng.integers(0, 895, (5, 8, 6)).astype(np.uint16).repeat(8, 1).repeat(8, 2)
    root.mkdir(parents=True, exist_ok=True)
    with h5py.File(root / "nyu_depth_v2_labeled.mat", "w") as file:
        file["images"], file["labels"] = images, labels
        file["depths"] = np.zeros((5, 64, 48), np.float32)
    splits = {"trainNdxs": [[1], [4], [5]], "testNdxs": [[2], [3]]}
    scipy.io.savemat(root / "splits.mat", splits)
    classes = rng.permutation(np.arange(894) % 40 + 1).astype(np.uint8)
    names = np.array(["wall", *(f"class {i}" for i in range(38)), "otherprop"], object)
    contents = {"mapClass": classes[None], "className": names[None]}
    scipy.io.savemat(root / "classMapping40.mat", contents)
    train_ids = np.concatenate([[255], classes - 1]).astype(np.uint8)
    return {
        split: {f"{n:04d}": train_ids[labels[n - 1].T] for n in numbers}
        for split, numbers in (("train", (1, 4, 5)), ("test", (2, 3)))
    }


KITTI_CALIBRATION = """P0: 700 0 600 0 0 700 170 0 0 0 1 0
P2: 700 0 600 45 0 700 170 0.2 0 0 1 0.003
R0_rect: 1 0 0 0 1 0 0 0 1
Tr_cam_to_road: 1 0 0 0 0 1 0 -1.65 0 0 1 0
"""


def kitti_road(root: pathlib.Path) -> dict:
    """Images 0 and 1 of each category, so one each for validation; one test image.

    Masks are red where valid, magenta where road, black elsewhere; lanes are extra.
    The camera is 1.65 m above the road and looks ahead.
    """
    base, truth = root / "data_road", {"train": {}, "val": {}, "test": {}}
    colours = np.array([[0, 0, 0], [255, 0, 0], [255, 0, 255]], np.uint8)
    for category in ("um", "umm", "uu"):
        for i in range(2):
            name = f"{category}_{i:06d}"
            raw = raw_mask(i, range(3))
            write(base / f"training/image_2/{name}.png", image(i, "PNG"))
            write(base / f"training/calib/{name}.txt", KITTI_CALIBRATION)
            mask = base / f"training/gt_image_2/{category}_road_{i:06d}.png"
            write(mask, png(colours[raw]))
            label = np.where(raw == 0, 255, raw - 1).astype(np.uint8)
            truth["val" if i == 0 else "train"][name] = label
    write(base / "training/gt_image_2/um_lane_000000.png", png(colours[raw]))
    write(base / "testing/image_2/um_000000.png", image(3, "PNG"))
    truth["test"]["um_000000"] = np.full_like(raw_mask(3, [0]), 255)
    return truth


def sunrgbd(root: pathlib.Path) -> dict:
    """Two training images and one for testing, each numbered from 1."""
    truth: dict = {"train": {}, "test": {}}
    for i, (split, number) in enumerate((("test", 1), ("train", 1), ("train", 2))):
        name = f"img-{number + 5050 * (split == 'train'):06d}"
        raw = raw_mask(i, range(38))
        write(root / f"SUNRGBD-{split}_images/img-{number:06d}.jpg", image(i))
        write(root / f"sunrgbd_train_test_labels/{name}.png", png(raw))
        truth[split][name] = np.where(raw == 0, 255, raw - 1).astype(np.uint8)
    return truth


def sift_flow(root: pathlib.Path) -> dict:
    """Four images of 32x32: train 0, 1, 3 and test 2; listed with backslashes."""
    folder, truth = "spatial_envelope_256x256_static_8outdoorcategories", {}
    names = [f"coast_natu{i}" for i in range(4)]
    for i, name in enumerate(names):
        write(root / f"Images/{folder}/{name}.jpg", image(i))
        mask = raw_mask(i, range(34))
        file = io.BytesIO()
        labels = np.array([f"class {c}" for c in range(33)], object)
        scipy.io.savemat(file, {"S": mask, "names": labels})
        write(root / f"SemanticLabels/{folder}/{name}.mat", file.getvalue())
        split = "test" if i == 2 else "train"
        label = np.where(mask == 0, 255, mask - 1).astype(np.uint8)
        truth.setdefault(split, {})[name] = label
    write(root / "TestSet1.txt", f"{folder}\\{names[2]}.jpg\r\n")
    return truth
