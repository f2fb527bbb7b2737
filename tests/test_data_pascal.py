"""PASCAL VOC and PASCAL Context, prepared from their published files."""

import shutil

import made_datasets
import numpy as np
import pytest
from made_archives import assert_labels, configure, pack, read_back
from made_datasets import VOC_NAMES, write

from encnet_jax.data import open_dataset, sets
from encnet_jax.data.prepare.__main__ import describe_counts, prepare
from encnet_jax.errors import UserError

pytestmark = pytest.mark.tf  # TFDS, with TensorFlow, writes prepared data.


@pytest.fixture
def root(tmp_path):
    (tmp_path / "source").mkdir()
    return tmp_path / "source"


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
    with pytest.raises(
        UserError, match="no split 'train_aug'.*from a source with 'train_aug'"
    ):
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
    names = [*sets.named_info("pascal_context").class_names, "background"]
    aliases = {"table": "diningtable", "bedclothes": "bedcloth", "cloth": "clothes"}
    lines = [f"{59 - i}: {aliases.get(n, n)}\n" for i, n in enumerate(names[:59])]
    write(root / "59_labels.txt", "".join(lines))
    prepare("pascal_context", source=str(root), data_dir=str(tmp_path))
    assert_labels("pascal_context", tmp_path, truth)
