"""The registry of data sets: declarations, and one added from outside the package."""

import subprocess
import sys

import numpy as np
import pytest
from made_datasets import image, png, raw_mask, write

from encnet_jax import config as config_lib
from encnet_jax.data import open_dataset
from encnet_jax.data.archives.entries import pairs
from encnet_jax.data.prepare.__main__ import prepare
from encnet_jax.data.sets import DATA_SETS, declared, named_info
from encnet_jax.data.sources.info import DatasetInfo, consecutive_ids, voc_colours
from encnet_jax.errors import UserError


def test_a_module_has_the_name_of_its_data_set():
    assert [info.name for info in declared().values()] == list(declared())
    assert set(DATA_SETS) - set(declared()) == {"folder", "image_folder"}


def test_declarations_are_read_without_large_libraries():
    program = (
        "import sys; from encnet_jax.data.sets import declared; declared();"
        "print(*sorted(sys.modules))"
    )
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in run.stdout.split()}
    large = {"jax", "flax", "tensorflow", "scipy", "pycocotools", "h5py", "cv2"}
    assert "numpy" in loaded and not loaded & large


def test_unknown_names_are_refused():
    with pytest.raises(UserError, match="unknown data set 'cityscape'; .*cityscapes"):
        named_info("cityscape")
    with pytest.raises(UserError, match="'folder' is described in a configuration"):
        named_info("folder")


IOU = np.array([0.5, 0.5])


def test_data_sets_define_the_scores_of_their_benchmarks():
    scores = {name: info.scores for name, info in declared().items()}
    assert scores["ade20k"](0.4, 0.8, IOU) == {"final_score": pytest.approx(0.6)}
    context = scores["pascal_context"](0.526, 0.8, IOU)
    assert context["context59"] == 0.526
    assert round(context["context60_published"], 3) == 0.517
    assert scores["pascal_context60"](0.5, 0.8, IOU) == {"context60": 0.5}
    assert scores["pascal_voc"](0.5, 0.8, IOU) == {}
    # 6 road pixels found, 2 missed, 4 wrongly found: F1 = 6 / (6 + (2 + 4) / 2).
    road = scores["kitti_road"](0.5, 0.8, np.array([0.9, 6 / 12]))
    assert road == {"road_f1": pytest.approx(6 / 9)}
    assert "background is one of the classes" in named_info("pascal_voc").rule
    assert named_info("camvid").rule == "ignored pixels are not counted"


# What a user writes for a data set of their own: a builder and its declaration.
MINE = DatasetInfo(
    name="mine",
    class_names=("road", "sky", "rest"),
    colours=voc_colours(4)[1:],
    id_map=consecutive_ids(3, first_id=1, ignore_ids=(0,)),
    splits=("train", "val"),
    source="https://example.org",
    preparation="run python -m encnet_jax.data.prepare mine --source ARCHIVE",
    entries=lambda tree: {
        split: pairs(
            tree.files(f"{split}/photos", ".jpg"), tree.files(f"{split}/ids", ".png")
        )
        for split in ("train", "val")
    },
)


@pytest.fixture
def mine(monkeypatch):
    monkeypatch.setattr(DATA_SETS, "_entries", dict(DATA_SETS._entries))
    DATA_SETS.register("mine", MINE)


@pytest.mark.tf
def test_a_data_set_is_added_without_editing_the_package(mine, tmp_path):
    masks = {}
    for i in range(6):
        split = "train" if i < 4 else "val"
        masks[f"p{i}"] = raw_mask(i, range(4))
        write(tmp_path / split / "photos" / f"p{i}.jpg", image(i))
        write(tmp_path / split / "ids" / f"p{i}.png", png(masks[f"p{i}"]))
    counts = prepare("mine", source=str(tmp_path), data_dir=str(tmp_path / "data"))
    assert counts == {"train": 4, "val": 2}
    data = config_lib.load("configs/default.py").data
    data.name, data.data_dir, data.crop_size = "mine", str(tmp_path / "data"), 32
    dataset = open_dataset(data)
    assert dataset.info.class_names == ("road", "sky", "rest")
    for example in dataset.eval_examples("val"):
        raw = masks[example["id"]]
        wanted = np.where(raw == 0, 255, raw - 1)
        np.testing.assert_array_equal(example["label"], wanted)
    batch = next(dataset.train_batches("train", batch_size=4, seed=0))
    assert batch["image"].shape == (4, 32, 32, 3)
    assert set(np.unique(batch["label"])) <= {0, 1, 2, 255}
