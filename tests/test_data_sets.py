"""Each data set prepared from archives as they are published, read back whole."""

import gzip
import io
import shutil
import tarfile

import made_datasets
import numpy as np
import pytest
from made_archives import assert_labels, configure, pack
from made_datasets import write
from PIL import Image

from encnet_jax.data import open_dataset
from encnet_jax.data.prepare.__main__ import prepare
from encnet_jax.errors import UserError
from encnet_jax.scoring.metrics import ConfusionMatrix

pytestmark = pytest.mark.tf  # TFDS, with TensorFlow, writes prepared data.


@pytest.fixture
def root(tmp_path):
    (tmp_path / "source").mkdir()
    return tmp_path / "source"


def test_ade20k_from_its_two_archives(root, tmp_path):
    truth = made_datasets.ade20k(root)
    image = (root / "release_test/testing/ADE_test_00000002.jpg").read_bytes()
    zips = [tmp_path / "ADEChallengeData2016.zip", tmp_path / "release_test.zip"]
    for archive in zips:
        pack(root, archive, archive.stem)
    counts = prepare("ade20k", source=list(map(str, zips)), data_dir=str(tmp_path))
    assert counts == {"train": 4, "val": 3, "test": 2}
    assert {path.name for path in tmp_path.iterdir()} == {
        *("ade20k", "source", "ADEChallengeData2016.zip", "release_test.zip")
    }
    assert_labels("ade20k", tmp_path, truth)
    dataset = open_dataset(configure("ade20k", tmp_path))
    assert dataset.source.record("test", 1).image == image
    assert_labels("ade20k", tmp_path, {"trainval": truth["train"] | truth["val"]})
    assert dataset.num_labelled("trainval") == 7
    with pytest.raises(UserError, match="ade20k has no labels for 'test'"):
        dataset.train_batches("test", batch_size=1, seed=0)


@pytest.mark.parametrize(
    "folder",
    [
        "ADE20K_2016_07_26/images/training/a/abbey",
        "ADE20K_2021_17_01/images/ADE/training/urban/street",
    ],
)
def test_the_full_ade20k_release_is_refused(root, tmp_path, folder):
    for suffix in (".jpg", "_seg.png", "_atr.txt"):
        file = root / folder / f"ADE_train_00000970{suffix}"
        write(file, made_datasets.image(0))
    wanted = "ADE_train_00000970_seg.png: .*full ADE20K.*expected.*Data2016.zip"
    with pytest.raises(UserError, match=wanted):
        prepare("ade20k", source=str(root), data_dir=str(tmp_path))


def test_real_ade20k_images_score_as_the_benchmark_does(reference_dir, tmp_path):
    source = reference_dir / "data" / "ADEChallengeData2016"
    counts = prepare("ade20k", source=str(source), data_dir=str(tmp_path))
    assert counts == {"val": 3}
    matrix = ConfusionMatrix(150)
    for example in open_dataset(configure("ade20k", tmp_path)).eval_examples("val"):
        file = source / "annotations/validation" / f"{example['id']}.png"
        annotation = np.asarray(Image.open(file)).astype(int)
        np.testing.assert_array_equal(example["label"], (annotation - 1) % 256)
        matrix.update(example["label"], np.maximum(annotation - 1, 0))
    assert matrix.pixel_accuracy() == 1.0
    assert matrix.mean_iou() == pytest.approx(0.1, abs=1e-12)


def test_coco_is_mapped_to_voc(root, tmp_path):
    truth = made_datasets.coco_voc(root)
    for folder in ("train2017", "val2017"):
        pack(root, root / f"{folder}.zip", folder)
    pack(root, root / "annotations_trainval2017.zip", "annotations")
    prepare("coco_voc", source=str(root), data_dir=str(tmp_path))
    assert_labels("coco_voc", tmp_path, truth)
    (label,) = truth["train"].values()
    assert set(np.unique(label)) == {0, 4, 13, 15}


def test_missing_coco_images_are_reported(root, tmp_path):
    made_datasets.coco_voc(root)
    (root / "val2017/000000000007.jpg").unlink()
    found = "lists the image 000000000007.jpg, .*not in the folder val2017"
    with pytest.raises(UserError, match=found):
        prepare("coco_voc", source=str(root), data_dir=str(tmp_path))


def test_cityscapes_labels_become_train_ids(root, tmp_path):
    truth = made_datasets.cityscapes(root)
    pack(root, root / "leftImg8bit_trainvaltest.zip", "leftImg8bit")
    pack(root, root / "gtFine_trainvaltest.zip", "gtFine")
    prepare("cityscapes", source=str(root), data_dir=str(tmp_path))
    assert_labels("cityscapes", tmp_path, truth)


def test_cityscapes_coarse_images_without_labels_are_reported(root, tmp_path):
    made_datasets.cityscapes(root)
    shutil.rmtree(root / "gtCoarse")
    found = "gtCoarse/train_extra/CITY next to leftImg8bit"
    with pytest.raises(UserError, match=found):
        prepare("cityscapes", source=str(root), data_dir=str(tmp_path))


NEW = ("cityscapes", "kitti_road", "nyuv2", "sift_flow", "sunrgbd")


@pytest.mark.parametrize("name", NEW)
def test_files_one_level_too_deep_are_found(root, tmp_path, name):
    truth = getattr(made_datasets, name)(root / "unpacked" / "again")
    counts = prepare(name, source=str(root), data_dir=str(tmp_path))
    assert counts == {split: len(labels) for split, labels in truth.items()}


@pytest.mark.parametrize("name", [*NEW, "coco_voc", "pascal_context"])
def test_another_source_is_reported(root, tmp_path, name, capsys):
    write(root / "photos/a.jpg", made_datasets.image(0))
    found = rf"the source has {root}/photos \(1 files\); expected"
    with pytest.raises(UserError, match=found):
        prepare(name, source=str(root), data_dir=str(tmp_path))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("kind", ["zip", "tar", "tgz"])
def test_damaged_archives_are_reported(root, tmp_path, kind):
    made_datasets.ade20k(root)
    archive = tmp_path / f"ade.{kind}"
    pack(root, archive, "ADEChallengeData2016", "release_test")
    contents = archive.read_bytes()
    archive.write_bytes(contents[: len(contents) // 2])
    with pytest.raises(UserError, match=rf"ade.{kind}.*cannot be read .*again"):
        prepare("ade20k", source=str(archive), data_dir=str(tmp_path))


def test_hidden_files_and_nested_archives_are_ignored(root, tmp_path):
    truth = made_datasets.ade20k(root)
    write(root / "__MACOSX/ADEChallengeData2016/images/training/._x.jpg", b"x")
    compressed = io.BytesIO()
    with tarfile.open(fileobj=compressed, mode="w") as archive:
        archive.add(root / "ADEChallengeData2016", "./ADEChallengeData2016")
    shutil.rmtree(root / "ADEChallengeData2016")
    write(root / "misnamed.tar", gzip.compress(compressed.getvalue()))
    prepare("ade20k", source=str(root), data_dir=str(tmp_path))
    assert_labels("ade20k", tmp_path, truth)
