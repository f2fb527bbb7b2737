"""Data sets that decode well and cannot teach: named by check, refused by training."""

import numpy as np
import pytest
from PIL import Image

from encnet_jax import cli
from encnet_jax import config as config_lib
from encnet_jax.data import open_dataset, sets
from encnet_jax.data.check import __main__ as check
from encnet_jax.data.check import teachable
from encnet_jax.errors import UserError


@pytest.fixture
def folder(tmp_path):
    """Writes sets of four pairs of 16x16 pixels and returns their configuration."""

    def write(values, split="{split}", names=("a", "b"), count=4):
        for name in ("train", "val"):
            for kind in ("images", "masks"):
                (tmp_path / name / kind).mkdir(parents=True)
            for i in range(count):
                mask = np.resize(np.array(values, np.uint8), (16, 16))
                image = np.full((16, 16, 3), 3 * i, np.uint8)
                Image.fromarray(image).save(tmp_path / name / "images" / f"{i}.png")
                Image.fromarray(mask).save(tmp_path / name / "masks" / f"{i}.png")
        config = config_lib.load("configs/folder.py:tiny")
        config.data.reader = "arrays"
        config.data.folder.images = f"{tmp_path}/{split}/images"
        config.data.folder.masks = f"{tmp_path}/{split}/masks"
        config.data.folder.class_names = names
        return config

    return write


def checked(config, capsys):
    folder = config.data.folder
    argv = ["check", "--config=configs/folder.py", "--config.data.reader=arrays"]
    argv += [f"--config.data.folder.{k}={folder[k]}" for k in ("images", "masks")]
    argv += [f"--config.data.folder.class_names={tuple(folder.class_names)}"]
    status = cli.run(check.main, argv)
    return status, capsys.readouterr().out


ONE = "only one of 2 classes occurs, 'b', so there is nothing to learn"


@pytest.mark.parametrize(
    ("values", "message"), [([255], "every pixel is ignored"), ([1, 1, 255], ONE)]
)
def test_labels_from_which_nothing_can_be_learned(folder, capsys, values, message):
    config = folder(values)
    status, printed = checked(config, capsys)
    assert status == 1 and printed.count(message) == 2  # Of train and of val.
    with pytest.raises(UserError, match=f"folder train: {message}"):
        teachable.check(open_dataset(config.data), "train", "val")


def test_a_large_split_is_sampled_and_only_warned_of(folder, capsys):
    config = folder([255], count=80)
    teachable.check(open_dataset(config.data), "train", "val")
    warned = capsys.readouterr().err
    assert "folder train, 32 of 80 masks: every pixel is ignored" in warned


def test_masks_of_a_small_split_are_checked_before_the_first_step(folder):
    config = folder([0, 1, 255], count=40)
    config.data.folder.ignore_ids = ()
    with pytest.raises(UserError, match="has the value 255, out of range"):
        teachable.check(open_dataset(config.data), "train", "val")


def test_masks_of_black_and_white_are_explained(folder):
    config = folder([0, 255], count=3)
    config.data.folder.ignore_ids = ()
    with pytest.raises(UserError, match="black and white .* write 1 instead of 255"):
        teachable.check(open_dataset(config.data), "train", "val")
    config.data.max_unreadable_share = 0.5
    teachable.check(open_dataset(config.data), "train", "val")


def test_the_same_files_for_training_and_validation_are_refused(folder, capsys):
    config = folder([0, 1], split="train")
    status, printed = checked(config, capsys)
    message = "train and val have the same files"
    assert status == 1 and printed.count(message) == 1
    with pytest.raises(UserError, match=message):
        teachable.check(open_dataset(config.data), "train", "val")
    teachable.check(open_dataset(config.data), "train", "")


def test_repeated_names_and_absent_classes_are_reported(folder, capsys):
    config = folder([0, 1], names=("a", "b", "c"))
    status, printed = checked(config, capsys)
    assert status == 0 and printed.count("note: 1 of 3 classes never occur: c") == 2
    teachable.check(open_dataset(config.data), "train", "val")
    config.data.folder.class_names = ("a", "b", "a")
    with pytest.raises(UserError, match="class_names has 'a' twice"):
        sets.dataset_info(config.data)


def test_rotated_images_are_counted(folder, capsys):
    config = folder([0, 1])
    exif = Image.Exif()
    exif[0x0112] = 3
    file = config.data.folder.images.format(split="val") + "/2.png"
    Image.open(file).save(file, exif=exif)
    _, printed = checked(config, capsys)
    assert printed.count("note: EXIF orientation mirrors or rotates 1 images") == 1


def test_ignored_values_that_may_be_the_missing_class_are_named(folder, capsys):
    status, printed = checked(folder([0, 0, 0, 255], names=("other", "crack")), capsys)
    assert status == 1
    assert (
        "25.0% of the pixels have an ignored value (data.folder.ignore_ids: 255)"
        in (printed)
    )
    assert "if these pixels are 'crack', write the value 1 in the masks" in printed


@pytest.mark.parametrize("name", ["1.tif", "1.TIFF", "1.PNG", "1.bmp"])
def test_masks_of_every_documented_kind_are_found(folder, tmp_path, capsys, name):
    config = folder([0, 1])
    for split in ("train", "val"):
        old = tmp_path / split / "masks/1.png"
        with Image.open(old) as mask:
            mask.copy().save(old.with_name(name))
        old.unlink(missing_ok=name != "1.PNG")
    status, printed = checked(config, capsys)
    assert status == 0 and printed.count("4 pairs, 0 problems") == 2


def test_two_masks_of_an_image_and_other_files_of_its_name(folder, tmp_path, capsys):
    config = folder([0, 1])
    masks = tmp_path / "train/masks"
    (masks / "1.tif").write_bytes((masks / "1.png").read_bytes())
    with pytest.raises(UserError, match=r"masks/1.png and 1.tif have the same stem"):
        open_dataset(config.data).num_examples("train")
    (masks / "1.tif").unlink()
    (masks / "1.png").rename(masks / "1.txt")
    with pytest.raises(
        UserError, match=r"1.png: has no mask; 1.txt is not a mask; expected"
    ):
        open_dataset(config.data).num_examples("train")
    assert open_dataset(config.data).num_examples("val") == 4  # Scored without it.


def test_files_that_nothing_reads_are_reported(folder, tmp_path, capsys):
    config = folder([0, 1])
    images, masks = tmp_path / "train/images", tmp_path / "train/masks"
    (images / "town").mkdir()
    (images / "4.avif").write_bytes(b"")
    (images / "Thumbs.db").write_bytes(b"")
    (images / ".DS_Store").write_bytes(b"")
    (masks / "no_such_image.png").write_bytes(b"")
    status, printed = checked(config, capsys)
    assert status == 1 and "problems found" in printed
    assert f"{images}: 4.avif, town/ are ignored; expected images (.jpg" in printed
    assert (
        f"{masks}: no_such_image.png is ignored, because no image has this stem"
        in printed
    )
    teachable.check(open_dataset(config.data), "train", "val")
    assert "warning: " in capsys.readouterr().err


def test_jfif_and_still_gif_files_are_images(folder, tmp_path, capsys):
    config = folder([0, 1])
    for split in ("train", "val"):
        images = tmp_path / split / "images"
        with Image.open(images / "1.png") as image:
            image.save(images / "1.jfif", "JPEG")
            image.convert("L").save(images / "2.gif")
        (images / "1.png").unlink()
        (images / "2.png").unlink()
    status, printed = checked(config, capsys)
    assert status == 0 and printed.count("4 pairs, 0 problems") == 2
