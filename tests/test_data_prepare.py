"""Preparing CamVid, exporting it as arrays, and reading both."""

import hashlib
import importlib
import io
import itertools
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from etils import epath
from PIL import Image

from encnet_jax import config as config_lib
from encnet_jax.data import open_dataset
from encnet_jax.data.export_arrays import export_arrays
from encnet_jax.data.pipelines.tensorflow import decode
from encnet_jax.data.prepare.__main__ import prepare
from encnet_jax.data.prepare.claim import claimed
from encnet_jax.data.prepare.examples import sort_key
from encnet_jax.data.sources import array_records
from encnet_jax.data.sources.tensorflow_import import tensorflow, tensorflow_datasets
from encnet_jax.errors import UserError

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
tensorflow_datasets()
shuffle = importlib.import_module("tensorflow_datasets.core.shuffle")
PROJECT = pathlib.Path(__file__).parent.parent


@pytest.fixture(scope="module")
def camvid(reference_dir, tmp_path_factory):
    """The first 4 training and 3 validation pairs, in the folders of the original."""
    source = reference_dir / "data" / "CamVid"
    root = tmp_path_factory.mktemp("source") / "CamVid"
    for split, count in (("train", 4), ("val", 3)):
        for image in sorted((source / split).iterdir())[:count]:
            mask = source / f"{split}annot" / f"{image.stem}.png"
            for file, folder in ((image, split), (mask, f"{split}annot")):
                (root / folder).mkdir(parents=True, exist_ok=True)
                shutil.copy(file, root / folder / file.name)
    return root


@pytest.fixture(scope="module")
def data_dir(camvid, tmp_path_factory):
    """CamVid prepared from an archive that holds it one level down."""
    folder = tmp_path_factory.mktemp("data")
    archive = shutil.make_archive(folder / "camvid", "zip", camvid.parent)
    counts = prepare("camvid", source=archive, data_dir=str(folder))
    assert counts == {"train": 4, "val": 3}
    left = {path.name for path in folder.iterdir()}
    assert left == {"camvid", "camvid.zip"}
    return folder


def configure(data_dir, reader="tfds"):
    data = config_lib.load(str(PROJECT / "configs" / "default.py")).data
    data.name, data.data_dir, data.reader = "camvid", str(data_dir), reader
    data.crop_size = 96
    return data


def test_files_are_kept_and_stay_in_order(camvid, data_dir):
    source = open_dataset(configure(data_dir)).source
    for split in ("train", "val"):
        for i, file in enumerate(sorted((camvid / split).iterdir())):
            record = source.record(split, i)
            assert record.name == file.stem
            assert record.image == file.read_bytes()


def test_masks_have_train_ids(camvid, data_dir):
    examples = open_dataset(configure(data_dir)).eval_examples("val")
    for example in examples:
        file = camvid / "valannot" / f"{example['id']}.png"
        raw = np.asarray(Image.open(file))
        np.testing.assert_array_equal(example["label"], np.where(raw == 11, 255, raw))


def test_tensorflow_decodes_as_pillow_does(data_dir):
    dataset = open_dataset(configure(data_dir))
    record = dataset.source.record("train", 0)
    image, label = decode(
        record.image, record.mask, tensorflow().constant(dataset.info.id_map)
    )
    example = dataset.source.example("train", 0)
    np.testing.assert_array_equal(image, example.image)
    np.testing.assert_array_equal(label, example.label)


WITHOUT_TENSORFLOW = """
import hashlib, itertools, sys

sys.modules["tensorflow"] = sys.modules["tensorflow_datasets"] = None
from encnet_jax import config as config_lib
from encnet_jax.data import open_dataset

data = config_lib.load("configs/default.py").data
data.name, data.data_dir, data.crop_size = "camvid", sys.argv[1], 48
assert data.reader == "auto"
batches = open_dataset(data).train_batches("train", batch_size=2, seed=3)
for batch in itertools.islice(batches, 3):
    for key in ("image", "label"):
        print(hashlib.sha256(batch[key].tobytes()).hexdigest())
"""


def test_records_are_read_without_tensorflow_and_batches_are_identical(data_dir):
    data = configure(data_dir, "tfds")
    data.crop_size = 48
    batches = open_dataset(data).train_batches("train", batch_size=2, seed=3)
    expected = [
        hashlib.sha256(batch[key].tobytes()).hexdigest()
        for batch in itertools.islice(batches, 3)
        for key in ("image", "label")
    ]
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW, str(data_dir)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.split() == expected and len(set(expected)) == 6


def test_array_records_are_those_of_tfds(data_dir):
    folder = epath.Path(data_dir) / "camvid" / "1.0.0"
    tfds = tensorflow_datasets()
    skip = {name: tfds.decode.SkipDecoding() for name in ("image", "mask")}
    builder = tfds.builder_from_directory(folder)
    ours = array_records.open_splits(folder)
    assert set(ours) == set(builder.info.splits)
    for split, records in ours.items():
        theirs = builder.as_data_source(split, decoders=skip)
        assert len(records) == len(theirs) > 0
        for index, record in enumerate(theirs):
            assert records[index] == dict(record)


def test_features_of_a_hand_made_record():
    # Two features, a and b; a varint field and a fixed one, which are skipped.
    a = b"\x0a\x01a\x12\x06\x0a\x04\x0a\x02xy"
    b = b"\x0a\x01b\x12\x04\x0a\x02\x0a\x00"
    features = b"".join(b"\x0a" + bytes([len(e)]) + e for e in (a, b))
    record = b"\x10\x96\x01\x1d1234\x0a" + bytes([len(features)]) + features
    assert array_records.features(record) == {"a": b"xy", "b": b""}
    for cut in (len(record) - 3, 2, 9):
        with pytest.raises(ValueError, match="the record is"):
            array_records.features(record[:cut])


def test_preparing_twice_is_refused(camvid, data_dir):
    with pytest.raises(UserError, match="already prepared in .*/camvid/1.0.0; remove"):
        prepare("camvid", source=str(camvid), data_dir=str(data_dir))


def test_a_broken_source_leaves_nothing(camvid, tmp_path):
    root = shutil.copytree(camvid, tmp_path / "broken")
    file = sorted((root / "train").iterdir())[2]
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(UserError, match=f"{file.name}: cannot be decoded"):
        prepare("camvid", source=str(root), data_dir=str(tmp_path / "data"))
    assert not list((tmp_path / "data").rglob("*.array_record*"))
    with pytest.raises(UserError, match="camvid is not prepared"):
        open_dataset(configure(tmp_path / "data"))


def test_sources_without_camvid_are_reported(tmp_path):
    data_dir = str(tmp_path / "data")
    with pytest.raises(UserError, match="no such file or folder"):
        prepare("camvid", source=str(tmp_path / "nothing"), data_dir=data_dir)
    (tmp_path / "empty").mkdir()
    found = f"no files in {tmp_path}/empty; expected folders train and trainannot"
    with pytest.raises(UserError, match=found):
        prepare("camvid", source=str(tmp_path / "empty"), data_dir=data_dir)
    (tmp_path / "text.zip").write_text("no archive")
    with pytest.raises(UserError, match="text.zip: cannot be read"):
        prepare("camvid", source=str(tmp_path / "text.zip"), data_dir=data_dir)
    with pytest.raises(UserError, match="camvid cannot be downloaded by this command"):
        prepare("camvid", source=None, data_dir=data_dir)
    found = "cifar10 cannot be prepared by this command, .*"
    fix = f"run tfds build .* --data_dir {data_dir}, "
    with pytest.raises(UserError, match=f"{found}; {fix}"):
        prepare("cifar10", source=None, data_dir=data_dir)


def test_arrays_equal_the_prepared_records(data_dir):
    export_arrays("camvid", data_dir=str(data_dir))
    datasets = [open_dataset(configure(data_dir, r)) for r in ("tfds", "arrays")]
    for a, b in zip(*(d.eval_examples("val") for d in datasets), strict=True):
        np.testing.assert_array_equal(a["image"], b["image"])
        np.testing.assert_array_equal(a["label"], b["label"])
    batches = [next(d.train_batches("train", batch_size=4, seed=0)) for d in datasets]
    for key in ("image", "label"):
        np.testing.assert_array_equal(batches[0][key], batches[1][key])
    with pytest.raises(UserError, match="already contains .npz files"):
        export_arrays("camvid", data_dir=str(data_dir))


def test_remains_of_a_killed_preparation_are_removed(camvid, tmp_path):
    left = tmp_path / "camvid" / "incomplete.ABC123_1.0.0"
    left.mkdir(parents=True)
    (left / "camvid-train.array_record").write_bytes(b"half")
    with claimed(tmp_path / "camvid"):  # As if another process were still writing it.
        with claimed(tmp_path / "camvid"):
            assert left.exists() is False
            left.mkdir()
        with claimed(tmp_path / "camvid"):
            assert left.exists()
    prepare("camvid", source=str(camvid), data_dir=str(tmp_path))
    assert {p.name for p in (tmp_path / "camvid").iterdir()} == {"1.0.0"}


def test_large_splits_stay_in_order_and_out_of_memory(camvid, tmp_path, monkeypatch):
    monkeypatch.setattr("encnet_jax.data.prepare.writer._BUFFER_BYTES", 1000)
    files = set()
    add = shuffle._Bucket.add

    def noted(bucket, *args):
        files.add(str(bucket._path))
        add(bucket, *args)

    monkeypatch.setattr(shuffle._Bucket, "add", noted)
    prepare("camvid", source=str(camvid), data_dir=str(tmp_path))
    assert len(files) == 4 + 3  # On disk, one for each example of so few.
    source = open_dataset(configure(tmp_path)).source
    names = [source.record("train", i).name for i in range(4)]
    assert names == sorted(path.stem for path in (camvid / "train").iterdir())


def test_sort_keys_rise_and_spread_over_128_files():
    keys = [sort_key(i, 20_210) for i in range(20_210)]
    assert all(a < b for a, b in zip(keys, keys[1:], strict=False))
    buckets = [shuffle.get_bucket_number(key, shuffle.BUCKETS_NUMBER) for key in keys]
    counts = np.unique(buckets, return_counts=True)[1]
    assert len(counts) == 128 and counts.max() <= 158


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda images, labels: (images, labels + 11), "labels have the value 11, out"),
        (
            lambda images, labels: (images, labels[:, 1:]),
            "expected images uint8.N, H, W, 3.",
        ),
        (lambda images, labels: (images * 1.0, labels), "found images float64"),
    ],
)
def test_bad_arrays_are_refused(tmp_path, change, message):
    images, labels = np.zeros((2, 8, 8, 3), np.uint8), np.zeros((2, 8, 8), np.uint8)
    images, labels = change(images, labels)
    (tmp_path / "camvid").mkdir()
    np.savez(tmp_path / "camvid" / "a.npz", train_images=images, train_labels=labels)
    with pytest.raises(UserError, match=message):
        open_dataset(configure(tmp_path, "arrays"))


@pytest.mark.slow
def test_an_interrupted_preparation_can_be_repeated(reference_dir, tmp_path):
    command = [sys.executable, "-m", "encnet_jax.data.prepare", "camvid"]
    command += ["--source", str(reference_dir / "data" / "CamVid")]
    command += ["--data_dir", str(tmp_path)]
    process = subprocess.Popen(command, cwd=PROJECT, stderr=subprocess.DEVNULL)
    while not list(tmp_path.rglob("*incomplete*")):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with pytest.raises(UserError, match="camvid is not prepared"):
        open_dataset(configure(tmp_path))
    assert list(tmp_path.rglob("*incomplete*"))
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.rglob("*incomplete*"))
    assert "camvid train: 367 examples\ncamvid val: 101 examples" in done.stdout
    assert open_dataset(configure(tmp_path)).num_examples("train") == 367


def test_png_images_of_the_public_copy_are_read(camvid, tmp_path):
    root = shutil.copytree(camvid, tmp_path / "png")
    for file in sorted((root / "train").iterdir()):
        Image.open(file).save(file.with_suffix(".png"))
        file.unlink()
    prepare("camvid", source=str(root), data_dir=str(tmp_path))
    dataset = open_dataset(configure(tmp_path))
    record = dataset.source.record("train", 0)
    assert Image.open(io.BytesIO(record.image)).format == "PNG"
    batch = next(dataset.train_batches("train", batch_size=4, seed=0))
    assert batch["image"].std() > 20
