"""Batches and evaluation examples from every reader."""

import hashlib
import itertools
import os
import pathlib
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image

from encnet_jax import config as config_lib
from encnet_jax.data import open_dataset
from encnet_jax.data.pipelines.prefetch import map_ahead
from encnet_jax.data.sets import scenes
from encnet_jax.data.sources.tensorflow_import import tensorflow
from encnet_jax.errors import UserError

BASE = pathlib.Path(__file__).parent.parent / "configs" / "default.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Seven JPEGs with palette masks 1..3 (classes) and 9 (ignored)."""
    root = tmp_path_factory.mktemp("folder")
    for split, count in (("train", 7), ("val", 5)):
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True)
        for i in range(count):
            image, label = scenes.generate("train", i)
            image, label = image[: 96 + i], label[: 96 + i]
            Image.fromarray(image).save(root / split / "images" / f"p{i}.jpg")
            mask = Image.fromarray(np.choose(label % 4, [1, 2, 3, 9]).astype(np.uint8))
            mask.putpalette(list(range(255, -1, -1)) * 3)
            mask.save(root / split / "masks" / f"p{i}.png")
    return root


@pytest.fixture(params=[pytest.param("tfds", marks=pytest.mark.tf), "arrays"])
def data(request, folder):
    data = config_lib.load(str(BASE)).data
    data.reader, data.name, data.crop_size = request.param, "folder", 64
    data.folder.images = f"{folder}/{{split}}/images"
    data.folder.masks = f"{folder}/{{split}}/masks"
    data.folder.class_names = ("a", "b", "c")
    data.folder.first_id, data.folder.ignore_ids = 1, (9,)
    return data


def take(iterator, count):
    return list(itertools.islice(iterator, count))


def assert_same(batches, others):
    for batch, other in zip(batches, others, strict=True):
        for key in ("image", "label"):
            np.testing.assert_array_equal(batch[key], other[key])


def test_batches_have_the_documented_shapes_and_types(data):
    batch = next(open_dataset(data).train_batches("train", batch_size=3, seed=0))
    assert batch["image"].shape == (3, 64, 64, 3)
    assert batch["label"].shape == (3, 64, 64)
    assert batch["image"].dtype == batch["label"].dtype == np.uint8
    assert set(np.unique(batch["label"])) == {0, 1, 2, 255}


def test_a_stream_that_starts_at_a_step_continues_the_batches(data):
    dataset = open_dataset(data)
    batches = take(dataset.train_batches("train", batch_size=3, seed=5), 6)
    resumed = dataset.train_batches("train", batch_size=3, seed=5, start_step=3)
    assert_same(batches[3:], take(resumed, 3))
    other = next(dataset.train_batches("train", batch_size=3, seed=6))
    assert (other["image"] != batches[0]["image"]).any()


def test_earlier_examples_are_not_read(data, monkeypatch):
    dataset = open_dataset(data)
    read = []
    record = type(dataset.source).record
    monkeypatch.setattr(
        type(dataset.source),
        "record",
        lambda self, split, i: read.append(i) or record(self, split, i),
    )
    next(dataset.train_batches("train", batch_size=7, seed=0, start_step=1000))
    assert len(read) < 150


def test_processes_read_the_parts_of_one_batch(data):
    dataset = open_dataset(data)
    whole = next(dataset.train_batches("train", batch_size=4, seed=0))
    parts = [
        next(
            dataset.train_batches(
                "train", batch_size=4, seed=0, process_index=p, process_count=2
            )
        )
        for p in range(2)
    ]
    for key in ("image", "label"):
        joined = np.concatenate([part[key] for part in parts])
        np.testing.assert_array_equal(joined, whole[key])


def test_evaluation_sees_each_image_once_in_its_own_size(data):
    dataset = open_dataset(data)
    assert dataset.num_examples("val") == 5
    parts = [
        list(dataset.eval_examples("val", process_index=p, process_count=2))
        for p in range(2)
    ]
    examples = [example for part in parts for example in part]
    assert [example["id"] for example in examples] == [f"p{i}" for i in range(5)]
    for number, places in ((1, [0]), (2, [0, 2]), (9, range(5))):
        few = dataset.spread_examples("val", number)
        assert [example["id"] for example in few] == [f"p{i}" for i in places]
    for i, example in enumerate(examples):
        assert example["image"].shape == (96 + i, scenes.SIZE_PX, 3)
        label = scenes.generate("train", i)[1][: 96 + i]
        np.testing.assert_array_equal(
            example["label"], np.choose(label % 4, [0, 1, 2, 255])
        )


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("angle", [0.0, 10.0])
def test_both_readers_give_identical_batches(folder, data, antialias, angle):
    if data.reader == "arrays":
        pytest.skip("compares both readers")
    data.augment.update(antialias=antialias, rotate_degrees=angle, base_size=80)
    data.augment.update(blur_probability=0.5, hue=0.1, contrast=0.3)
    data.augment.scale_relative_to = "short_side" if antialias else "image"
    data.input_scale = 0.8
    hashes = {}
    for data.reader in ("tfds", "arrays"):
        batches = take(
            open_dataset(data).train_batches("train", batch_size=3, seed=1), 4
        )
        hashes[data.reader] = [
            hashlib.sha256(batch[key].tobytes()).hexdigest()
            for batch in take(batches, 4)
            for key in ("image", "label")
        ]
    assert hashes["tfds"] == hashes["arrays"] and len(set(hashes["tfds"])) == 8


def test_unknown_splits_and_names_are_reported(data):
    with pytest.raises(UserError, match="no split 'test'; its splits: train, val; "):
        open_dataset(data).num_examples("test")
    data.name = "cityscape"
    with pytest.raises(UserError, match="'cityscape'; expected one of: ade20k, camvid"):
        open_dataset(data)


@pytest.mark.parametrize("name", ["ade20k", "camvid"])
def test_a_missing_data_set_is_reported_with_instructions(data, name, tmp_path):
    data.name, data.data_dir = name, str(tmp_path)
    wanted = (
        f"not (prepared|available).*(data.prepare|export_arrays) {name} .*--data_dir"
    )
    with pytest.raises(UserError, match=wanted):
        open_dataset(data)
    assert not list(tmp_path.iterdir())


def test_a_bad_mask_stops_training_and_is_named(data, folder):
    data.folder.ignore_ids = ()
    batches = open_dataset(data).train_batches("train", batch_size=7, seed=0)
    with pytest.raises(UserError, match=r"masks/p\d.png: the mask has the value 9,"):
        next(batches)


def test_threads_are_as_many_as_the_cores_that_the_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    usable = {0, 4, 5}
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: usable, raising=False)
    met = threading.Barrier(len(usable))  # Nobody passes it without the other threads.

    def thread(_):
        time.sleep(0.02)
        met.wait(timeout=10)
        return threading.get_ident()

    assert len(set(map_ahead(thread, range(12), ahead=12))) == len(usable)


def test_without_tensorflow_the_advice_fits_preparation_and_training(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    advice = "pip install tensorflow-cpu .* to prepare data sets; .*'arrays' to read"
    with pytest.raises(UserError, match=advice):
        tensorflow.__wrapped__()


@pytest.mark.tf
def test_tensorflow_has_no_accelerator(monkeypatch):
    hidden = []

    def note(devices, kind):
        assert devices == []
        hidden.append(kind)

    monkeypatch.setattr(tensorflow().config, "set_visible_devices", note)
    tensorflow.__wrapped__()  # What is cached asks TensorFlow no more.
    assert hidden == ["GPU", "TPU"]


@pytest.mark.tf
def test_generated_scenes_are_the_same_from_both_readers(tmp_path, monkeypatch):
    monkeypatch.setattr(scenes, "NUM_IMAGES", {"train": 6, "val": 3})

    data = config_lib.load(str(BASE)).data
    data.name, data.data_dir, data.crop_size = "scenes", str(tmp_path), 64
    data.augment.rotate_degrees, data.augment.scale_max = 0.0, 0.5
    batches = []
    for data.reader in ("tfds", "arrays"):
        dataset = open_dataset(data)
        assert dataset.num_examples("train") == 6 and dataset.num_examples("val") == 3
        ids = [example["id"] for example in dataset.eval_examples("val")]
        assert ids == [f"val_{i:04d}" for i in range(3)]
        batches.append(take(dataset.train_batches("train", batch_size=3, seed=0), 3))
    for a, b in zip(*batches, strict=True):
        np.testing.assert_array_equal(a["label"], b["label"])
        np.testing.assert_array_equal(a["image"], b["image"])
