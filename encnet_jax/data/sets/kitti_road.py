"""KITTI road: 289 labelled images of urban roads, with the classes road and other.

Prepared masks have the values 0 (not valid), 1 (other) and 2 (road). The benchmark has
no validation split. This package moves every training image whose number (the last part
of the file name) is a multiple of 5 from train to val.

Source: Fritsch, Kuehnl and Geiger, ITSC 2013, and the development kit: getGroundTruth
in helper.py for the masks, KittiCalibration in BirdsEyeView.py for the calibration.
"""

import contextlib
from functools import partial

import numpy as np

from encnet_jax.data.archives.entries import Entry, unlabelled
from encnet_jax.data.archives.file_tree import FileTree, StoredFile
from encnet_jax.data.sources.decode import decode_image, encode_png
from encnet_jax.data.sources.info import DatasetInfo, consecutive_ids, prepare_command
from encnet_jax.errors import UserError

_CATEGORIES = ("um", "umm", "uu")
_VALIDATION = 5  # Every fifth image is a validation image.
_CALIBRATION = {"P2": (3, 4), "R0_rect": (3, 3), "Tr_cam_to_road": (3, 4)}


def entries(tree: FileTree) -> dict[str, list[Entry]]:
    """Returns {split: examples} for train and val, and for test if present.

    The test split has no labels: all pixels of its masks are ignored.
    """
    images = tree.files("training/image_2", ".png")
    masks = tree.files("training/gt_image_2", ".png")
    if not images or not masks:
        raise tree.missing("the folders training/image_2 and training/gt_image_2")
    splits: dict[str, list[Entry]] = {"train": [], "val": []}
    for name, image in images.items():
        category, _, number = name.partition("_")
        mask = masks.get(f"{category}_road_{number}")
        if category not in _CATEGORIES or not number.isdecimal():
            raise UserError(
                f"{image}: unexpected file name; expected um_NUMBER.png, umm_NUMBER.png"
                " or uu_NUMBER.png"
            )
        if mask is None:
            raise UserError(
                f"{image}: has no mask; expected {category}_road_{number}.png in"
                " gt_image_2; download data_road.zip again"
            )
        split = "val" if int(number) % _VALIDATION == 0 else "train"
        splits[split].append(Entry(name, image, partial(_mask, mask), str(mask)))
    test = tree.files("testing/image_2", ".png")
    if test:
        splits["test"] = unlabelled(DATA_SET.id_map, test)
    return splits


def views(tree: FileTree) -> dict[str, list[list[float]]]:
    """Returns {image name: 3x3 homography from the road plane to the image}.

    The homography maps (metres to the right, metres ahead, 1) to (column, row, 1) in
    pixels, up to a factor. Images without a calibration file are omitted.
    """
    return {n: _view(x) for n, x in tree.files("training/calib", ".txt").items()}


def _view(file: StoredFile) -> list[list[float]]:
    """Reads a calibration file; returns the 3x3 homography described in `views`."""
    found = {}
    for line in file.read().decode("utf-8", "replace").splitlines():
        name, _, numbers = line.partition(":")
        with contextlib.suppress(ValueError):
            found[name] = np.array(numbers.split(), float)
    to_4x4 = np.eye(4)[None].repeat(len(_CALIBRATION), 0)
    for matrix, (name, shape) in zip(to_4x4, _CALIBRATION.items(), strict=True):
        if found.get(name, np.zeros(0)).size != np.prod(shape):
            raise UserError(
                f"{file}: has no line '{name}:' with {np.prod(shape)} numbers; restore"
                " the file from data_road.zip, or remove the folder calib"
            )
        matrix[: shape[0], : shape[1]] = found[name].reshape(shape)
    projection, rectification, to_road = to_4x4
    if not abs(np.linalg.det(to_road)) > 1e-6:  # A rotation has determinant 1.
        raise UserError(
            f"{file}: the matrix Tr_cam_to_road has no inverse; restore the file from"
            " data_road.zip, or remove the folder calib"
        )
    # Source: KittiCalibration: P2 * R0_rect * inverse(Tr_cam_to_road).
    whole = projection @ rectification @ np.linalg.inv(to_road)
    return whole[:3, [0, 2, 3]].tolist()  # Points on the road have height 0.


def _mask(file: StoredFile, _image: bytes) -> bytes:
    # Source: getGroundTruth: valid pixels are red; road pixels are also blue.
    red, green, blue = np.moveaxis(decode_image(file.read(), str(file)), 2, 0)
    if not red.any() or np.array_equal(red, green):
        found = "is grey" if red.any() else "has no red pixel, so no pixel is valid"
        raise UserError(
            f"{file}: the mask {found}; expected a red mask with magenta roads; restore"
            " the file from data_road.zip"
        )
    return encode_png(np.where(red > 0, 1 + (blue > 0), 0).astype(np.uint8))


def _scores(mean_iou: float, accuracy: float, iou: np.ndarray) -> dict[str, float]:
    return {"road_f1": float(2 * iou[1] / (1 + iou[1]))}


DATA_SET = DatasetInfo(
    name="kitti_road",
    class_names=("other", "road"),
    colours=np.array([[255, 0, 0], [255, 0, 255]], np.uint8),
    id_map=consecutive_ids(2, first_id=1, ignore_ids=(0,)),
    splits=("train", "val", "test"),
    source="https://www.cvlibs.net/datasets/kitti/eval_road.php (data_road.zip)",
    preparation=prepare_command("kitti_road", "data_road.zip"),
    description="Urban roads from a moving car; road or other, raw id 0 is not valid.",
    unions={"trainval": ("train", "val")},
    unlabelled=("test",),
    full_counts={"train": 230, "val": 59, "test": 290},
    entries=entries,
    views=views,
    positive_class=1,
    rule="pixels that are not valid are not counted; road_f1 is in image space and at"
    " the most probable class; max_f_image is the largest over thresholds, max_f_bev"
    " the same in bird's-eye view, as on the test server, if calibrations are known",
    scores=_scores,
)
