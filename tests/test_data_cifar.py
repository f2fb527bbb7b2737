"""CIFAR-10: reading, the validation split, crops on the host and on the devices."""

import itertools

import jax
import numpy as np
import pytest

from encnet_jax.config import defaults
from encnet_jax.data import open_dataset
from encnet_jax.data.pipelines.image_set import crop, draw_crops
from encnet_jax.errors import UserError


def cifar_data(**fields):
    config = defaults.get_config()
    config.data.update({"name": "cifar10", "reader": "arrays", **fields})
    return config.data


@pytest.fixture
def small_set(tmp_path):
    """The .npz files of 50 training and 20 test images; returns their data_dir."""
    rng = np.random.default_rng(0)
    (tmp_path / "cifar10").mkdir()
    for split, count in (("train", 50), ("test", 20)):
        np.savez(
            tmp_path / "cifar10" / f"{split}.npz",
            images=rng.integers(0, 256, (count, 32, 32, 3), np.uint8),
            labels=(np.arange(count) % 10).astype(np.uint8),
        )
    return tmp_path


def batches(dataset, count, split="train", **arguments):
    arguments = {"batch_size": 16, "seed": 3, **arguments}
    stream = itertools.islice(dataset.train_batches(split, **arguments), count)
    return [jax.tree.map(np.asarray, batch) for batch in stream]


def test_crop_equals_padding_slicing_and_mirroring():
    rng = np.random.default_rng(1)
    images = rng.integers(1, 256, (6, 8, 8, 3), np.uint8)
    top, left = rng.integers(0, 5, (2, 6))
    flip = np.array([True, False] * 3)
    ours = crop(images, top, left, flip, pad=2)
    for i in range(6):
        padded = np.zeros((12, 12, 3), np.uint8)
        padded[2:10, 2:10] = images[i]
        expected = padded[top[i] : top[i] + 8, left[i] : left[i] + 8]
        expected = expected[:, ::-1] if flip[i] else expected
        np.testing.assert_array_equal(ours[i], expected)
    assert ours.dtype == np.uint8


def test_crops_are_uniform_and_depend_only_on_the_step():
    drawn = draw_crops(81_000, pad=4, flip=True, seed=0, step=5)
    counts = np.bincount(drawn["top"] * 9 + drawn["left"], minlength=81)
    assert len(counts) == 81
    assert 800 < counts.min() and counts.max() < 1200  # 1000 each, deviation 32.
    assert abs(drawn["flip"].mean() - 0.5) < 0.01
    again = draw_crops(81_000, pad=4, flip=True, seed=0, step=5)
    other = draw_crops(81_000, pad=4, flip=True, seed=0, step=6)
    np.testing.assert_array_equal(drawn["top"], again["top"])
    assert (drawn["top"] != other["top"]).mean() > 0.8
    assert not draw_crops(100, pad=4, flip=False, seed=0, step=0)["flip"].any()


def test_devices_and_host_give_equal_pixels(small_set):
    host = open_dataset(cifar_data(data_dir=str(small_set)))
    device = open_dataset(cifar_data(data_dir=str(small_set), on_device=True))
    stream = device.train_batches("train", batch_size=16, seed=3)
    for expected in batches(host, 5):
        made = next(stream)
        assert len(made["image"].sharding.device_set) == jax.local_device_count() == 8
        np.testing.assert_array_equal(
            np.asarray(made["image"]).reshape(16, 32, 32, 3), expected["image"]
        )
        np.testing.assert_array_equal(
            np.asarray(made["label"]).ravel(), expected["label"]
        )


def test_batches_do_not_depend_on_start_or_processes(small_set):
    dataset = open_dataset(cifar_data(data_dir=str(small_set)))
    whole = batches(dataset, 6)
    assert len({batch["image"].tobytes() for batch in whole}) == 6
    later = batches(dataset, 2, start_step=4)
    parts = [batches(dataset, 6, process_index=p, process_count=2) for p in (0, 1)]
    for name in ("image", "label"):
        np.testing.assert_array_equal(later[1][name], whole[5][name])
        for step in range(6):
            joined = np.concatenate([part[step][name] for part in parts])
            np.testing.assert_array_equal(joined, whole[step][name])


def test_an_epoch_shows_each_image_once(small_set):
    images = open_dataset(cifar_data(data_dir=str(small_set))).source.arrays("train")[0]
    plain = cifar_data(data_dir=str(small_set), augment={"pad": 0, "flip": False})
    shown = batches(open_dataset(plain), 5, batch_size=10)
    shown = np.concatenate([batch["image"] for batch in shown])
    assert {x.tobytes() for x in shown} == {x.tobytes() for x in images}


def test_validation_is_the_last_tenth_of_training(small_set):
    dataset = open_dataset(cifar_data(data_dir=str(small_set)))
    sizes = {s: dataset.num_examples(s) for s in dataset.info.splits}
    assert sizes == {"train": 50, "train_without_val": 45, "val": 5, "test": 20}
    images, _ = dataset.source.arrays("train")
    val = list(dataset.eval_examples("val"))
    np.testing.assert_array_equal([e["image"] for e in val], images[45:])
    assert [int(e["label"]) for e in val] == [5, 6, 7, 8, 9]
    first, _ = dataset.source.arrays("train_without_val")
    np.testing.assert_array_equal(first, images[:45])


def test_missing_and_broken_files_are_reported(small_set, tmp_path):
    with pytest.raises(UserError, match="export_arrays cifar10"):
        open_dataset(cifar_data(data_dir=str(tmp_path / "nowhere")))
    with pytest.raises(UserError, match="train.batch_size is 60; expected 1 to 50"):
        dataset = open_dataset(cifar_data(data_dir=str(small_set)))
        dataset.train_batches("train", batch_size=60, seed=0)
    file = small_set / "cifar10" / "test.npz"
    np.savez(file, images=np.zeros((2, 32, 32, 3), np.uint8), labels=np.uint8([3, 10]))
    with pytest.raises(UserError, match="up to 10; expected images uint8"):
        open_dataset(cifar_data(data_dir=str(small_set)))
    file.write_bytes(b"PK no archive")
    message = "test.npz: cannot be read .*; expected the arrays 'images' and 'labels'"
    with pytest.raises(UserError, match=message):
        open_dataset(cifar_data(data_dir=str(small_set)))


@pytest.mark.tf
def test_unprepared_data_are_reported(tmp_path):
    with pytest.raises(UserError, match="tfds build cifar10 --data_dir"):
        open_dataset(cifar_data(reader="tfds", data_dir=str(tmp_path)))


@pytest.mark.slow
@pytest.mark.tf
def test_data_prepared_by_tfds_are_read_and_exported(reference_dir, tmp_path):
    from encnet_jax.data.export_arrays import export_arrays

    folder = tmp_path / "cifar10"
    folder.mkdir()
    (folder / "3.0.2").symlink_to(reference_dir / "data/tfds/cifar10/3.0.2")
    dataset = open_dataset(cifar_data(reader="tfds", data_dir=str(tmp_path)))
    images, labels = dataset.source.arrays("train")
    assert images.shape == (50_000, 32, 32, 3)
    np.testing.assert_array_equal(np.bincount(labels), 5000)
    assert dataset.num_examples("val") == 5000
    test_labels = dataset.source.arrays("test")[1]
    np.testing.assert_array_equal(np.bincount(test_labels), 1000)
    export_arrays("cifar10", data_dir=str(tmp_path))
    again = open_dataset(cifar_data(data_dir=str(tmp_path)))
    np.testing.assert_array_equal(again.source.arrays("train")[0], images)
    with pytest.raises(UserError, match="already exists"):
        export_arrays("cifar10", data_dir=str(tmp_path))
