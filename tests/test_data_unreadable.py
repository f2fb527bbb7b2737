"""Broken files while training: skipped and named while they are few."""

import itertools
import pathlib

import numpy as np
import pytest
from PIL import Image

from encnet_jax import config as config_lib
from encnet_jax.data import open_dataset
from encnet_jax.data.pipelines.unreadable import Unreadable
from encnet_jax.data.sets import scenes
from encnet_jax.errors import UserError


@pytest.fixture(params=[pytest.param("tfds", marks=pytest.mark.tf), "arrays"])
def data(request, tmp_path):
    """Eight examples, of which p3 and p4 are broken."""
    for kind in ("images", "masks"):
        (tmp_path / "train" / kind).mkdir(parents=True)
        (tmp_path / "val").mkdir(exist_ok=True)
    for i in range(8):
        image, label = scenes.generate("train", i)
        Image.fromarray(image).save(tmp_path / "train" / "images" / f"p{i}.png")
        Image.fromarray(label).save(tmp_path / "train" / "masks" / f"p{i}.png")
    for name in ("p3", "p4"):
        path = tmp_path / "train" / "images" / f"{name}.png"
        path.write_bytes(path.read_bytes()[:2000])
    for kind in ("images", "masks"):
        (tmp_path / "val" / kind).symlink_to(tmp_path / "train" / kind)
    data = config_lib.load("configs/default.py").data
    data.reader, data.name, data.crop_size = request.param, "folder", 64
    data.folder.images = f"{tmp_path}/{{split}}/images"
    data.folder.masks = f"{tmp_path}/{{split}}/masks"
    data.folder.class_names = tuple(scenes.CLASSES)
    return data


def batches(data, count, start_step=0):
    dataset = open_dataset(data)
    endless = dataset.train_batches(
        "train", batch_size=4, seed=0, start_step=start_step
    )
    return list(itertools.islice(endless, count))


def test_no_broken_example_is_allowed_by_default(data, capfd):
    with pytest.raises(UserError, match=r"p[34]\.png: cannot be decoded"):
        batches(data, 2)
    assert capfd.readouterr().err == ""  # TensorFlow says nothing of its own.


def test_few_broken_examples_are_reported_and_replaced(data, capfd):
    data.max_unreadable_share = 0.25
    found = batches(data, 4)
    shown = capfd.readouterr().err
    assert shown.count("unreadable, skipped") == len(shown.splitlines()) == 2
    assert "p3.png" in shown and "p4.png" in shown
    assert all(batch["image"].shape == (4, 64, 64, 3) for batch in found)
    # A restart skips the same ones.
    for batch, again in zip(found[2:], batches(data, 2, start_step=2), strict=True):
        np.testing.assert_array_equal(batch["image"], again["image"])


def test_too_many_broken_examples_stop_the_run(data):
    data.max_unreadable_share = 0.125
    with pytest.raises(UserError, match="2 of 8 examples cannot be read.*at most 1"):
        batches(data, 2)


def test_truncated_files_are_found_by_decoding(data):
    folder = pathlib.Path(data.folder.images.format(split="train"))
    for name in ("p3", "p4"):
        path = folder / f"{name}.png"
        path.write_bytes(path.read_bytes() + b"IEND\xaeB`\x82")
    with pytest.raises(UserError, match=r"p[34]\.png: cannot be decoded"):
        batches(data, 2)
    data.max_unreadable_share = 0.25
    assert len(batches(data, 4)) == 4


@pytest.mark.parametrize("max_share", [0.0, 0.5, 1.0])
def test_every_thread_ends_if_all_examples_are_broken(max_share):
    unreadable = Unreadable(4, max_share)

    def broken(index):
        raise UserError(f"image {index}")

    for index in (0, 1, 2, 3, 0, 1):
        with pytest.raises(UserError):
            unreadable.read(index, broken)
