"""Each data set prepared from archives as they are published, read back whole."""

import gzip
import io
import pathlib
import shutil
import tarfile

import made_datasets
import numpy as np
import pytest
import scipy.io
from made_datasets import VOC_NAMES, write
from PIL import Image

from encnet_jax import config as config_lib
from encnet_jax.data import open_dataset, sets
from encnet_jax.data.prepare.__main__ import describe_counts, prepare
from encnet_jax.data.sources import prepared
from encnet_jax.errors import UserError
from encnet_jax.scoring.metrics import ConfusionMatrix

pytestmark = pytest.mark.tf  # TFDS, with TensorFlow, writes prepared data.

BASE = pathlib.Path(__file__).parent.parent / "configs" / "default.py"


def configure(name, data_dir):
    data = config_lib.load(str(BASE)).data
    data.name, data.data_dir, data.crop_size = name, str(data_dir), 32
    return data


def read_back(name, data_dir, split):
    examples = open_dataset(configure(name, data_dir)).eval_examples(split)
    return {example["id"]: example["label"] for example in examples}


def assert_labels(name, data_dir, truth):
    for split, labels in truth.items():
        found = read_back(name, data_dir, split)
        assert list(found) == sorted(labels), split
        for key, label in labels.items():
            np.testing.assert_array_equal(found[key], label, f"{split} {key}")


def pack(root, archive, *folders):
    """Writes folders below root as an archive and removes them."""
    name, kind = str(archive).split(".", 1)
    kind = {"tgz": "gztar", "tar.gz": "gztar"}.get(kind, kind)
    made = pathlib.Path(name + ".made")
    for folder in folders:
        (made / folder).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(root / folder, made / folder)
    packed = pathlib.Path(shutil.make_archive(name, kind, made))
    packed.rename(archive)
    shutil.rmtree(made)


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


def test_pascal_voc_joins_sbd_without_val(root, tmp_path):
    truth = made_datasets.pascal_voc(root)
    test = root / "VOCdevkit.test/VOC2012"
    for name in VOC_NAMES[8:]:
        write(test / f"JPEGImages/{name}.jpg", made_datasets.image(8 + int(name[-1])))
        (root / f"VOCdevkit/VOC2012/JPEGImages/{name}.jpg").unlink()
    lists = "ImageSets/Segmentation/test.txt"
    write(test / lists, (root / "VOCdevkit/VOC2012" / lists).read_bytes())
    (root / "VOCdevkit/VOC2012" / lists).unlink()
    for i in (8, 9):
        size = made_datasets.raw_mask(8 + i, [0]).shape
        truth["test"][VOC_NAMES[i]] = np.full(size, 255, np.uint8)
    pack(root, root / "VOCtrainval_11-May-2012.tar", "VOCdevkit")
    (root / "VOCdevkit.test").rename(root / "VOCdevkit")
    pack(root, root / "VOC2012test.tar", "VOCdevkit")
    pack(root, root / "benchmark.tgz", "benchmark_RELEASE")
    prepare("pascal_voc", source=str(root), data_dir=str(tmp_path))
    assert_labels("pascal_voc", tmp_path, truth)
    val, train_aug = truth["val"], truth["train"] | truth["aug"]
    assert sorted(train_aug) == [VOC_NAMES[i] for i in (0, 1, 4, 5, 6, 7)]
    unions = {
        "train_aug": train_aug,
        "train_aug_val": train_aug | val,
        "trainval": truth["train"] | val,
    }
    for split, wanted in unions.items():
        found = read_back("pascal_voc", tmp_path, split)
        assert set(found) == set(wanted) and len(found) == len(wanted)
        for key in wanted:
            np.testing.assert_array_equal(found[key], wanted[key])
    assert not set(read_back("pascal_voc", tmp_path, "train_aug")) & set(val)


def test_pascal_voc_without_sbd_lacks_the_unions(root, tmp_path):
    made_datasets.pascal_voc(root)
    shutil.rmtree(root / "benchmark_RELEASE")
    source = root / "VOCdevkit" / "VOC2012"
    counts = prepare("pascal_voc", source=str(source), data_dir=str(tmp_path))
    assert counts == {"train": 2, "val": 2, "test": 2}
    dataset = open_dataset(configure("pascal_voc", tmp_path))
    assert dataset.num_examples("trainval") == 4
    with pytest.raises(UserError, match="no split 'train_aug'.*prepare the split from"):
        dataset.num_examples("train_aug")
    lines = describe_counts(dataset.info, counts)
    assert lines[0] == (
        "warning: pascal_voc train: 2 examples; the full data set has 1464"
    )
    assert lines[2] == (
        "warning: pascal_voc aug: not in the source; the full data set has 9118"
    )
    full = describe_counts(dataset.info, dict(dataset.info.full_counts))
    assert full[2] == "pascal_voc aug: 9118 examples"


def test_pascal_voc_with_overlapping_lists_is_refused(root, tmp_path):
    made_datasets.pascal_voc(root)
    file = root / "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt"
    file.write_text(file.read_text() + VOC_NAMES[0] + "\n")
    with pytest.raises(UserError, match="2007_000000 is in train.txt and in val.txt"):
        prepare("pascal_voc", source=str(root), data_dir=str(tmp_path))


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
    with pytest.raises(UserError, match="lists 000000000007.jpg.*not in val2017"):
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


def test_sift_flow_is_read_from_its_archive(root, tmp_path):
    truth = made_datasets.sift_flow(root / "SiftFlowDataset")
    pack(root, root / "SiftFlowDataset.zip", "SiftFlowDataset")
    prepare("sift_flow", source=str(root), data_dir=str(tmp_path))
    assert_labels("sift_flow", tmp_path, truth)


def test_kitti_roads_are_read_from_their_archive(root, tmp_path):
    truth = made_datasets.kitti_road(root)
    pack(root, root / "data_road.zip", "data_road")
    prepare("kitti_road", source=str(root), data_dir=str(tmp_path))
    assert_labels("kitti_road", tmp_path, truth)


def test_kitti_calibrations_become_views_of_the_road(root, tmp_path):
    truth = made_datasets.kitti_road(root)
    prepare("kitti_road", source=str(root), data_dir=str(tmp_path))
    info = sets.named_info("kitti_road")
    views = prepared.views(info, str(tmp_path))
    assert views.keys() == truth["train"].keys() | truth["val"].keys()
    # A point 2 m to the right and 10 m ahead, 1.65 m below the camera.
    u, v, w = views["um_000001"] @ [2, 10, 1]
    np.testing.assert_allclose(w, 10.003)
    np.testing.assert_allclose([u, v], [700 * 2 + 600 * 10 + 45, 700 * 1.65 + 1700.2])
    file = next(tmp_path.glob("kitti_road/*/road_to_image.json"))
    file.write_text('{"um_000001": [1, 2]}')
    with pytest.raises(UserError, match="road_to_image.json: expected 3x3 numbers"):
        prepared.views(info, str(tmp_path))
    file.unlink()
    assert prepared.views(info, str(tmp_path)) == {}


def lanes_only(folder):
    (folder / "gt_image_2/um_road_000001.png").unlink()


def grey_masks(folder):
    black = made_datasets.png(np.zeros((40, 56, 3), np.uint8))
    write(folder / "gt_image_2/uu_road_000001.png", black)


def train_ids(folder):
    ids = made_datasets.raw_mask(1, range(2))
    write(folder / "gt_image_2/uu_road_000001.png", made_datasets.png(ids))


def other_names(folder):
    write(folder / "image_2/000007.png", made_datasets.image(0, "PNG"))


def flat_calibration(folder):
    head, _, _ = made_datasets.KITTI_CALIBRATION.partition("Tr_cam")
    write(folder / "calib/umm_000000.txt", f"{head}Tr_cam_to_road:{' 0' * 12}\n")


def short_calibration(folder):
    write(folder / "calib/umm_000000.txt", "P2: 1 2 3\nR0_rect: 1 0 0 0 1 0 0 0 1\n")


def no_masks(folder):
    shutil.rmtree(folder / "gt_image_2")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lanes_only, "um_000001.png: has no mask; expected um_road_000001.png"),
        (grey_masks, "uu_road_000001.png: has no red pixel"),
        (train_ids, "uu_road_000001.png: is grey; expected the masks of"),
        (other_names, "000007.png: expected um_NUMBER.png"),
        (flat_calibration, "umm_000000.txt: Tr_cam_to_road has no inverse"),
        (short_calibration, "umm_000000.txt: expected a line P2: of 12 numbers"),
        (no_masks, "expected training/image_2 and training/gt_image_2"),
    ],
)
def test_mistakes_in_kitti_road_are_reported(root, tmp_path, damage, message):
    made_datasets.kitti_road(root)
    damage(root / "data_road/training")
    with pytest.raises(UserError, match=message) as error:
        prepare("kitti_road", source=str(root), data_dir=str(tmp_path))
    assert "\n" not in str(error.value)


SIFT_FLOW = "spatial_envelope_256x256_static_8outdoorcategories"


def no_list(root):
    (root / "TestSet1.txt").unlink()


def no_labels(root):
    (root / "SemanticLabels" / SIFT_FLOW / "coast_natu1.mat").unlink()


def unknown_test_image(root):
    write(root / "TestSet1.txt", f"{SIFT_FLOW}\\coast_natu9.jpg\n")


def empty_list(root):
    write(root / "TestSet1.txt", "\n")


def other_variable(root):
    scipy.io.savemat(root / f"SemanticLabels/{SIFT_FLOW}/coast_natu1.mat", {"T": 1})


def sift_flow_train_ids(root):
    file = root / f"SemanticLabels/{SIFT_FLOW}/coast_natu1.mat"
    labels = scipy.io.loadmat(file)["S"]
    scipy.io.savemat(file, {"S": labels - np.uint8(1)})  # 0 becomes 255.


def label_34(root):
    file = root / f"SemanticLabels/{SIFT_FLOW}/coast_natu1.mat"
    labels = scipy.io.loadmat(file)["S"]
    labels[0, 0] = 34
    scipy.io.savemat(file, {"S": labels})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (no_list, rf"expected Images/{SIFT_FLOW}/\*.jpg, .* and TestSet1.txt"),
        (
            no_labels,
            "coast_natu1.jpg and 0 other images have no labels in SemanticLabels",
        ),
        (unknown_test_image, "TestSet1.txt: lists coast_natu9; expected images of"),
        (empty_list, "TestSet1.txt: lists no image; expected"),
        (other_variable, "coast_natu1.mat: cannot be read .*'S'.*download"),
        (sift_flow_train_ids, "coast_natu1.mat: the mask has the value 255, out of"),
        (label_34, "coast_natu1.mat: the mask has the value 34, out of range"),
    ],
)
def test_mistakes_in_sift_flow_are_reported(root, tmp_path, damage, message):
    made_datasets.sift_flow(root)
    damage(root)
    with pytest.raises(UserError, match=message) as error:
        prepare("sift_flow", source=str(root), data_dir=str(tmp_path))
    assert "\n" not in str(error.value)


NEW = ("cityscapes", "kitti_road", "nyuv2", "sift_flow", "sunrgbd")


@pytest.mark.parametrize("name", NEW)
def test_files_one_level_too_deep_are_found(root, tmp_path, name):
    truth = getattr(made_datasets, name)(root / "unpacked" / "again")
    counts = prepare(name, source=str(root), data_dir=str(tmp_path))
    assert counts == {split: len(labels) for split, labels in truth.items()}


SUNRGBD = ("SUNRGBD-train_images", "SUNRGBD-test_images", "sunrgbd_train_test_labels")


def test_sunrgbd_is_read_from_its_archives(root, tmp_path):
    """Both archives of images have an img-000001.jpg, and no folder."""
    truth = made_datasets.sunrgbd(root)
    for name, suffix in zip(SUNRGBD, (".tgz", ".tgz", ".tar.gz"), strict=True):
        with tarfile.open(root / (name + suffix), "w:gz") as archive:
            for file in (root / name).iterdir():
                archive.add(file, file.name)
        shutil.rmtree(root / name)
    prepare("sunrgbd", source=str(root), data_dir=str(tmp_path))
    assert_labels("sunrgbd", tmp_path, truth)


def without(index):
    return lambda root: shutil.rmtree(root / SUNRGBD[index])


def no_label(root):
    (root / SUNRGBD[2] / "img-005052.png").unlink()


def odd_name(root):
    write(root / SUNRGBD[0] / "0001.jpg", made_datasets.image(0))


def ids_from_0(root):
    mask = made_datasets.png(made_datasets.raw_mask(0, [254, 255]))
    write(root / SUNRGBD[2] / "img-000001.png", mask)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without(0), "expected the archive or folder SUNRGBD-train_images"),
        (without(1), "expected the archive or folder SUNRGBD-test_images"),
        (without(2), "expected the archive or folder sunrgbd_train_test_labels"),
        (no_label, "img-000002.jpg: has no mask in the source"),
        (odd_name, "0001.jpg: expected img-NUMBER.jpg"),
        (ids_from_0, "img-000001.png: the mask has the value 254, 255, out of range"),
    ],
)
def test_mistakes_in_sunrgbd_are_reported(root, tmp_path, damage, message):
    made_datasets.sunrgbd(root)
    damage(root)
    with pytest.raises(UserError, match=message) as error:
        prepare("sunrgbd", source=str(root), data_dir=str(tmp_path))
    assert "\n" not in str(error.value)


def context_source(root):
    truth = made_datasets.pascal_context(root)
    pack(root, root.parent / "VOCtrainval_03-May-2010.tar", "VOCdevkit")
    return truth, root.parent / "VOCtrainval_03-May-2010.tar"


def with_background(truth):
    """Train ids of 59 classes -> of 60; what was ignored is background."""
    return {
        split: {key: (label + 1).astype(np.uint8) for key, label in labels.items()}
        for split, labels in truth.items()
    }


def test_pascal_context_is_painted_from_its_json(root, tmp_path):
    truth, archive = context_source(root)
    source = [str(archive), str(root / "trainval_merged.json")]
    prepare("pascal_context", source=source, data_dir=str(tmp_path))
    assert_labels("pascal_context", tmp_path, truth)
    assert_labels("pascal_context60", tmp_path, with_background(truth))
    info = open_dataset(configure("pascal_context60", tmp_path)).info
    assert info.num_classes == 60 and info.class_names[47] == "sky"
    with pytest.raises(UserError, match="pascal_context60 is already prepared"):
        prepare("pascal_context60", source=source, data_dir=str(tmp_path))


def test_pascal_context_with_other_categories_is_refused(root, tmp_path):
    _, archive = context_source(root)
    file = root / "trainval_merged.json"
    file.write_text(
        file.read_text().replace('"category_id": 458', '"category_id": 459')
    )
    with pytest.raises(UserError, match="has category 459, which is not one of the 59"):
        prepare("pascal_context", source=[archive, file], data_dir=str(tmp_path))


def context_pngs(root, folder, renumber=lambda raw: raw):
    truth = made_datasets.pascal_context(root)
    (root / "trainval_merged.json").unlink()
    for labels in with_background(truth).values():
        for key, raw in labels.items():
            write(root / folder / f"{key}.png", made_datasets.png(renumber(raw), True))
    return truth


def test_pascal_context_from_alphabetical_pngs(root, tmp_path):
    base = "VOCdevkit/VOC2010"
    truth = context_pngs(root, f"{base}/SegmentationClassContext")
    made_datasets.context_lists(root / base, "SegmentationContext")
    prepare("pascal_context", source=str(root), data_dir=str(tmp_path))
    assert_labels("pascal_context", tmp_path, truth)


def test_pascal_context_from_pngs_numbered_by_a_list(root, tmp_path):
    renumbering = np.array([0, *range(59, 0, -1)], np.uint8)  # The alphabet backwards.
    truth = context_pngs(root, "59_context_labels", lambda raw: renumbering[raw])
    made_datasets.context_lists(root / "VOCdevkit/VOC2010", "Main")
    pack(root, root / "59_context_labels.tar.gz", "59_context_labels")
    with pytest.raises(UserError, match="59_context_labels but not 59_labels.txt"):
        prepare("pascal_context", source=str(root), data_dir=str(tmp_path))
    names = [*open_names(), "background"]
    aliases = {"table": "diningtable", "bedclothes": "bedcloth", "cloth": "clothes"}
    lines = [f"{59 - i}: {aliases.get(n, n)}\n" for i, n in enumerate(names[:59])]
    write(root / "59_labels.txt", "".join(lines))
    prepare("pascal_context", source=str(root), data_dir=str(tmp_path))
    assert_labels("pascal_context", tmp_path, truth)


def open_names():
    from encnet_jax.data.sets import named_info

    return named_info("pascal_context").class_names


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
