"""Image files in folders of classes: what is listed, cropped, refused."""

import itertools
import math

import numpy as np
import pytest
from PIL import Image

from encnet_jax import config as config_lib
from encnet_jax.data import dataset_info, open_dataset
from encnet_jax.data.pipelines import image_files
from encnet_jax.errors import UserError

COLOURS = {"blue": (20, 30, 220), "green": (30, 200, 40), "red": (210, 20, 30)}


def write(path, colour, size=(50, 40)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, quality=95)


@pytest.fixture
def root(tmp_path):
    """Three classes of one colour each: four images to train on, two to score."""
    for split, count in (("train", 4), ("val", 2)):
        for name, colour in COLOURS.items():
            for i in range(count):
                write(tmp_path / split / name / f"{i}.jpg", colour)
    return tmp_path


def data_of(root, **fields):
    config = config_lib.load("configs/imagenet.py:resnet18,folder")
    config.data.folder.images = f"{root}/{{split}}"
    config.data.update({"crop_size": 16, **fields})
    config.data.augment.base_size = 20
    return config.data


def batches(dataset, count, **fields):
    stream = dataset.train_batches("train", batch_size=6, seed=1, **fields)
    return list(itertools.islice(stream, count))


def test_labels_are_the_sorted_folders(root):
    data = data_of(root)
    assert dataset_info(data).class_names == ("blue", "green", "red")
    dataset = open_dataset(data)
    assert dataset.source.sizes() == {"train": 12, "val": 6}
    for batch in batches(dataset, 2):
        assert batch["image"].shape == (6, 16, 16, 3)
        assert batch["label"].dtype == np.int32
        colours = np.array(list(COLOURS.values()))[batch["label"]]
        difference = batch["image"].astype(int) - colours[:, None, None]
        assert np.abs(difference).max() < 12  # JPEG.
    names = [e["id"] for e in dataset.eval_examples("val")]
    assert names == [f"{c}/{i}.jpg" for c in COLOURS for i in range(2)]


def test_batches_depend_only_on_seed_and_step(root):
    rng = np.random.default_rng(0)
    for path in root.glob("*/*/*.jpg"):
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(path)
    dataset = open_dataset(data_of(root))
    whole = batches(dataset, 4)
    later = batches(dataset, 1, start_step=3)
    np.testing.assert_array_equal(later[0]["image"], whole[3]["image"])
    parts = [batches(dataset, 4, process_index=p, process_count=2) for p in (0, 1)]
    joined = np.concatenate([part[3]["image"] for part in parts])
    np.testing.assert_array_equal(joined, whole[3]["image"])
    # The second epoch crops the same images in other places.
    assert len({image.tobytes() for batch in whole for image in batch["image"]}) == 24


def test_boxes_keep_to_area_ratio_and_image():
    shares, lefts = [], []
    for index in range(500):
        box = image_files.draw_box(
            300, 400, area_min=0.08, seed=0, epoch=0, index=index
        )
        width, height = box.right - box.left, box.bottom - box.top
        assert 0 <= box.left and box.right <= 400
        assert 0 <= box.top and box.bottom <= 300
        assert 0.74 < width / height < 1.35
        shares.append(width * height / 300 / 400)
        lefts.append(box.left / max(400 - width, 1))
    assert 0.078 < min(shares) < 0.12 and max(shares) > 0.85
    assert min(lefts) < 0.05 and max(lefts) > 0.95
    tall = image_files.draw_box(1000, 10, area_min=0.9, seed=0, epoch=0, index=0)
    assert tall == (0, 493, 10, 506)  # No try fits: the middle, 10 wide, 13 high.


def test_the_centre_is_cut_at_the_short_side():
    box = image_files.centre_box(256, 512, base_size=256, crop_size=224)
    assert box == (144, 16, 368, 240)
    image = np.random.default_rng(0).integers(0, 256, (256, 512, 3), np.uint8)
    found = image_files.cut(image, box, 224)
    np.testing.assert_array_equal(found, image[16:240, 144:368])


def test_scores_use_the_centre(root):
    image = np.zeros((40, 50, 3), np.uint8)
    image[8:32, 13:37] = 255  # Short side 40 for 20: the crop of 16 shows 32 pixels.
    (root / "val" / "blue" / "0.jpg").unlink()
    Image.fromarray(image).save(root / "val" / "blue" / "0.png")
    example = next(iter(open_dataset(data_of(root)).eval_examples("val")))
    assert example["image"].shape == (16, 16, 3)
    assert math.isclose(example["image"].mean() / 255, (24 / 32) ** 2, abs_tol=0.02)


def empty_class(root):
    (root / "train" / "yellow").mkdir()
    (root / "val" / "yellow").mkdir()


def one_class(root):
    for split in ("train", "val"):
        for name in ("blue", "green"):
            (root / split / name).rename(root / f"{split}{name}")


def other_class(root):
    (root / "val" / "red").rename(root / "val" / "rot")


def no_split(root):
    (root / "val").rename(root / "valid")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (empty_class, r"train/yellow: the class folder has no images; add images"),
        (one_class, "has only one subfolder, 'red'; expected two or more"),
        (other_class, "split train has the class folder 'red', but the split val"),
        (no_split, "val: no such folder; expected a folder with one"),
    ],
)
def test_folders_without_a_data_set(root, change, message):
    change(root)
    with pytest.raises(UserError, match=message):
        open_dataset(data_of(root))


def corrupt(path):
    path.write_bytes(path.read_bytes()[:200])


def test_images_that_cannot_be_decoded_are_refused_or_skipped(root, capsys):
    corrupt(root / "train" / "green" / "2.jpg")
    with pytest.raises(UserError, match="green/2.jpg: cannot be decoded"):
        batches(open_dataset(data_of(root)), 2)
    batches(open_dataset(data_of(root, max_unreadable_share=0.1)), 2)
    printed = capsys.readouterr().err
    assert "unreadable, skipped (1)" in printed and printed.count("\n") == 1


def test_cmyk_images_are_refused(root):
    path = root / "train" / "green" / "2.jpg"
    Image.open(path).convert("CMYK").save(path, quality=95)
    source = open_dataset(data_of(root)).source
    message = "2.jpg: has channels CMYK; expected RGB or grey"
    with pytest.raises(UserError, match=message):
        source.example("train", 6)


def test_crops_larger_than_the_evaluated_size_are_refused(root):
    with pytest.raises(UserError, match=r"expected at least data.crop_size \(32\)"):
        open_dataset(data_of(root, crop_size=32))


def test_both_splits_in_one_folder(root):
    data = data_of(root)
    data.folder.images = f"{root}/train"
    with pytest.raises(UserError, match="put '{split}' into data.folder.images"):
        dataset_info(data)
