"""NYU Depth v2 from generated files of the published structure, and its mistakes."""

import h5py
import numpy as np
import pytest
import scipy.io
from made_datasets import nyuv2

from encnet_jax import config as config_lib
from encnet_jax.data import dataset_info, open_dataset
from encnet_jax.data.prepare.__main__ import prepare
from encnet_jax.data.sets import named_info
from encnet_jax.errors import UserError

# Class of the 40 (from 1) -> class of the 13 (from 1).
# Source: class13Mapping.mat of github.com/ankurhanda/nyuv2-meta-data, labels13.
LABELS_13 = (
    *(12, 5, 6, 1, 4, 9, 10, 12, 13, 6, 8, 6, 13, 10, 6, 13, 6, 7, 7, 5),
    *(7, 3, 2, 6, 11, 7, 7, 7, 7, 7, 7, 6, 7, 7, 7, 7, 7, 7, 6, 7),
)


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    return folder, nyuv2(folder)


def read(name, folder):
    data = config_lib.load("configs/nyuv2.py").data
    data.name, data.data_dir = name, str(folder.parent / "data")
    return open_dataset(data)


@pytest.mark.tf
def test_prepared_images_and_labels_are_the_files(source):
    folder, truth = source
    data_dir = str(folder.parent / "data")
    assert prepare("nyuv2", source=str(folder), data_dir=data_dir) == {
        "train": 3,
        "test": 2,
    }
    with h5py.File(folder / "nyu_depth_v2_labeled.mat") as file:
        images = file["images"][:]
    for split, labels in truth.items():
        examples = list(read("nyuv2", folder).eval_examples(split))
        assert [example["id"] for example in examples] == list(labels)
        for example in examples:
            number = int(example["id"])
            wanted = np.moveaxis(images[number - 1], (0, 1, 2), (2, 1, 0))
            np.testing.assert_array_equal(example["image"], wanted)
            np.testing.assert_array_equal(example["label"], labels[example["id"]])
    groups = np.full(256, 255, np.uint8)
    groups[:40] = np.array(LABELS_13) - 1
    for example in read("nyuv2_13", folder).eval_examples("test"):
        wanted = groups[truth["test"][example["id"]]]
        np.testing.assert_array_equal(example["label"], wanted)


def test_groups_cover_the_classes():
    forty, thirteen = named_info("nyuv2"), named_info("nyuv2_13")
    assert forty.class_names[19] == "floor mat" and len(forty.class_names) == 40
    raw_ids = np.arange(1, 41)
    np.testing.assert_array_equal(thirteen.id_map[raw_ids], np.array(LABELS_13) - 1)
    assert thirteen.class_names[4] == "floor" and thirteen.class_names[10] == "tv"


def rewrite(path, **changes):
    contents = scipy.io.loadmat(path)
    kept = {name: value for name, value in contents.items() if name[0] != "_"}
    scipy.io.savemat(path, kept | changes)


def no_split(folder):
    (folder / "splits.mat").unlink()


def cut_off(folder):
    file = folder / "nyu_depth_v2_labeled.mat"
    file.write_bytes(file.read_bytes()[:2000])


def first_version(folder):
    with h5py.File(folder / "nyu_depth_v2_labeled.mat", "a") as file:
        del file["images"]
        file["images"] = np.zeros((5, 64, 48, 3), np.uint8)


def high_label(folder):
    with h5py.File(folder / "nyu_depth_v2_labeled.mat", "a") as file:
        file["labels"][3, 0, 0] = 895


def other_split(folder):
    rewrite(folder / "splits.mat", testNdxs=[[2], [9]])


def image_in_both(folder):
    rewrite(folder / "splits.mat", testNdxs=[[2], [4]])


def other_mapping(folder):
    names = np.array([f"class {i}" for i in range(40)], object)
    rewrite(folder / "classMapping40.mat", className=names[None])


@pytest.mark.tf
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (no_split, r"expected .*\(missing: splits.mat\)"),
        (cut_off, "labeled.mat: cannot be read .*download the file again"),
        (
            first_version,
            r"'images' uint8\[5, 64, 48, 3\] .*expected 'images' uint8\[N, 3, W",
        ),
        (high_label, "labeled.mat, image 4: has the label 895; expected 0 to 894"),
        (other_split, "splits.mat: lists an image twice, or a number outside 1 to 5"),
        (image_in_both, "splits.mat: lists an image twice"),
        (other_mapping, "from 'class 0' to 'class 39'; expected 894 labels with class"),
    ],
)
def test_mistakes_are_reported_in_one_line(source, damage, message):
    folder, _ = source
    damage(folder)
    with pytest.raises(UserError, match=message) as error:
        prepare("nyuv2", source=str(folder), data_dir=str(folder.parent / "data"))
    assert "\n" not in str(error.value)
    assert not list((folder.parent / "data").rglob("*.array_record*"))


def test_a_folder_copy_has_39_classes():
    config = config_lib.load("configs/nyuv2.py:tiny,half,folder")
    info = dataset_info(config.data)
    assert info.class_names == named_info("nyuv2").class_names[:39]
    assert info.id_map[[0, 38, 255]].tolist() == [0, 38, 255]
    assert info.splits == ("train", "val") and config.model.backbone == "tiny"


def test_the_configuration_trains_on_the_official_split():
    config = config_lib.resolve(
        config_lib.load("configs/nyuv2.py:classes13"), config_lib.Facts(795)
    )
    assert (config.data.train_split, config.data.val_split) == ("train", "test")
    assert config.train.total_steps == 120 * (795 // 16)
