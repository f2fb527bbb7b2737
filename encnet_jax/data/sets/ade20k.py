"""The scene parsing benchmark of ADE20K, with 150 classes.

In masks, 0 means unlabelled and 1..150 are the classes. The published files are
ADEChallengeData2016.zip and, for the test images, release_test.zip.
"""

import numpy as np

from encnet_jax.data.archives.entries import Entry, pairs, unlabelled
from encnet_jax.data.archives.file_tree import FileTree
from encnet_jax.data.sources.info import (
    DatasetInfo,
    Server,
    class_lines,
    consecutive_ids,
    voc_colours,
)
from encnet_jax.errors import UserError

_FOLDERS = {"train": "training", "val": "validation"}
_ADDRESS = "http://data.csail.mit.edu/places/ADEchallenge"


def entries(tree: FileTree) -> dict[str, list[Entry]]:
    """Returns {split: examples} for the splits that the published files contain.

    The test split has no labels: all pixels of its masks are ignored.
    """
    splits = {}
    for split, folder in _FOLDERS.items():
        images = tree.files(f"images/{folder}", ".jpg")
        if images:
            masks = tree.files(f"annotations/{folder}", ".png")
            splits[split] = pairs(images, masks)
    if not splits:
        _refuse_full_release(tree)
    test = tree.files("testing", ".jpg")
    if test:
        splits["test"] = unlabelled(DATA_SET.id_map, test)
    if not splits:
        raise tree.missing("the folders images/training and annotations/training")
    return splits


def _refuse_full_release(tree: FileTree) -> None:
    """Raises UserError if the files are from the full release of ADE20K.

    The full release has about 3,000 classes. Its masks are RGB images, in files
    *_seg.png.

    Source: github.com/CSAILVision/ADE20K.
    """
    found = tree.ends("_seg.png")
    if found is not None:
        raise UserError(
            f"{found}: the file is from the full ADE20K release with about 3,000"
            " classes; expected the scene parsing benchmark with 150 classes; to"
            " download ADEChallengeData2016.zip, run python -m encnet_jax.data.prepare"
            " ade20k without --source"
        )


def _scores(mean_iou: float, accuracy: float, iou: np.ndarray) -> dict[str, float]:
    return {"final_score": (accuracy + mean_iou) / 2}


DATA_SET = DatasetInfo(
    name="ade20k",
    class_names=class_lines("ade20k"),
    colours=voc_colours(151)[1:],
    id_map=consecutive_ids(150, first_id=1, ignore_ids=(0,)),
    splits=("train", "val", "test"),
    source="http://sceneparsing.csail.mit.edu (ADEChallengeData2016.zip)",
    preparation="run python -m encnet_jax.data.prepare ade20k --data_dir DIR, "
    "which downloads the data, or add --source with ADEChallengeData2016.zip and "
    "release_test.zip",
    unions={"trainval": ("train", "val")},
    unlabelled=("test",),
    full_counts={"train": 20_210, "val": 2_000},
    downloads=(
        (
            f"{_ADDRESS}/ADEChallengeData2016.zip",
            "219e1696abb36c8ba3a3afe7fb2f4b4606a897c7",
        ),
        (
            f"{_ADDRESS}/release_test.zip",
            "e05747892219d10e9243933371a497e905a4860c",
        ),
    ),
    description="Indoor and outdoor scenes; 150 classes, raw id 0 unlabelled.",
    entries=entries,
    rule="unlabelled pixels (raw 0) are not counted; final score = (pixel accuracy"
    " + mean IoU) / 2",
    scores=_scores,
    # Source: CSAILVision/sceneparsing's README and demoEvaluation.m.
    server=Server("ade20k", "", (".zip",), 0, tuple(range(1, 151))),
)
