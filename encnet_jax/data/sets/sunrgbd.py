"""SUN RGB-D: 10,335 images of rooms, 37 classes; depth is not read.

The files are three archives from github.com/ankurhanda/sunrgbd-meta-data: training
images, test images, and labels of both. The first 5,050 labels are those of the test
images. The labels were extracted from SUNRGBD2Dseg.mat; reading that file requires
64 GB of memory.

Source: Song, Lichtenberg and Xiao, CVPR 2015; class names from seg37list.mat.
"""

from encnet_jax.data.archives.entries import Entry, file_entry
from encnet_jax.data.archives.file_tree import FileTree
from encnet_jax.data.sources.info import (
    DatasetInfo,
    class_lines,
    consecutive_ids,
    prepare_command,
    voc_colours,
)
from encnet_jax.errors import UserError

_IMAGES = {"train": "SUNRGBD-train_images", "test": "SUNRGBD-test_images"}
_LABELS = "sunrgbd_train_test_labels"
_FIRST_LABEL = {"train": 5_050, "test": 0}  # Number of labels before the split.


def entries(tree: FileTree) -> dict[str, list[Entry]]:
    """Returns {split: examples} for the splits train and test.

    The id of an example is the stem of its label file, such as 'img-005051'.
    """
    labels = tree.files(_LABELS, ".png")
    images = {split: tree.files(name, ".jpg") for split, name in _IMAGES.items()}
    if not labels or not all(images.values()):
        lacking = [n for s, n in _IMAGES.items() if not images[s]]
        lacking += [] if labels else [_LABELS]
        raise tree.missing(f"the archive or folder {lacking[0]} with files img-NUMBER")
    splits: dict[str, list[Entry]] = {}
    for split, files in images.items():
        splits[split] = []
        for name, image in files.items():
            number = name.removeprefix("img-")
            if number == name or not number.isdigit():
                raise UserError(
                    f"{image}: unexpected file name; expected img-NUMBER.jpg"
                )
            label = f"img-{int(number) + _FIRST_LABEL[split]:06d}"
            splits[split].append(file_entry(label, image, labels.get(label)))
    return splits


DATA_SET = DatasetInfo(
    name="sunrgbd",
    class_names=class_lines("sunrgbd"),
    colours=voc_colours(38)[1:],
    id_map=consecutive_ids(37, first_id=1, ignore_ids=(0,)),
    splits=("train", "test"),
    source="https://github.com/ankurhanda/sunrgbd-meta-data"
    " (SUNRGBD-train_images.tgz, SUNRGBD-test_images.tgz,"
    " sunrgbd_train_test_labels.tar.gz)",
    preparation=prepare_command("sunrgbd", "its three archives"),
    description="Rooms; 37 classes, raw id 0 is unlabelled.",
    full_counts={"train": 5_285, "test": 5_050},
    entries=entries,
    rule="37 classes, unlabelled pixels (raw 0) are not counted",
)
