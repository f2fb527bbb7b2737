"""The check command: what it counts, and one message for each kind of problem."""

import pathlib
import shutil

import numpy as np
import pytest
from PIL import Image

from encnet_jax import cli
from encnet_jax.data.check import __main__ as check

BASE = pathlib.Path(__file__).parent.parent / "configs" / "default.py"


@pytest.fixture
def root(tmp_path):
    """Three pairs a split: 20x10 pixels, the upper half class 0, the lower class 1."""
    image = np.random.default_rng(0).integers(0, 256, (10, 20, 3), np.uint8)
    mask = np.repeat(np.arange(2, dtype=np.uint8), 5)[:, None].repeat(20, 1)
    for split in ("train", "val"):
        for kind in ("images", "masks"):
            (tmp_path / split / kind).mkdir(parents=True)
        for i in range(3):
            Image.fromarray(image).save(tmp_path / split / "images" / f"p{i}.jpg")
            Image.fromarray(mask).save(tmp_path / split / "masks" / f"p{i}.png")
    return tmp_path


def run(root, capsys, **more):
    flags = {
        "data.name": "folder",
        "data.reader": "arrays",
        "data.folder.images": f"{root}/{{split}}/images",
        "data.folder.masks": f"{root}/{{split}}/masks",
        "data.folder.class_names": "('up','down')",
        **more,
    }
    argv = ["check", f"--config={BASE}"]
    argv += [f"--config.{name}={value}" for name, value in flags.items()]
    status = cli.run(check.main, argv)
    return status, capsys.readouterr()


def test_a_clean_set_is_counted(root, capsys):
    status, printed = run(root, capsys)
    assert status == 0
    lines = printed.out.splitlines()
    assert lines[0] == "folder train: 3 pairs, 0 problems"
    assert lines[1] == "  sizes: 20x10 (3)"
    assert lines[3].split() == ["0", "up", "300", "50.000%", "3"]
    assert lines[4].split() == ["1", "down", "300", "50.000%", "3"]
    assert lines[-1] == "no problems found"


def test_wrong_number_of_class_weights(root, capsys):
    status, printed = run(root, capsys, **{"loss.class_weights": "(1,2,3)"})
    assert status == 2
    expected = "has 3 numbers; expected one for each of the 2 classes of folder; add"
    assert expected in printed.err


def colour(mask):
    Image.open(mask).convert("RGB").save(mask)


def out_of_range(mask):
    Image.fromarray(np.full((10, 20), 77, np.uint8)).save(mask)


def smaller(mask):
    Image.open(mask).resize((10, 10)).save(mask)


def sixteen_bits(mask):
    Image.fromarray(np.full((10, 20), 300, np.uint16)).save(mask)


def truncate_image(mask):
    image = mask.parent.parent / "images" / "p1.jpg"
    image.write_bytes(image.read_bytes()[:-200])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (colour, "p1.png: the mask has mode RGB; expected one 8-bit channel"),
        (
            sixteen_bits,
            "p1.png: the mask has values of more than 8 bits (mode I;16",
        ),
        (out_of_range, "p1.png: the mask has the value 77, out of range"),
        (pathlib.Path.unlink, "p1.jpg: has no mask; expected"),
        (smaller, "p1.png: the mask has 10x10 pixels, but its image has 20x10"),
        (truncate_image, "p1.jpg: cannot be decoded"),
    ],
)
def test_each_problem_has_its_own_line(root, capsys, damage, message):
    damage(root / "val" / "masks" / "p1.png")
    status, printed = run(root, capsys)
    assert status == 1
    (problem,) = [line for line in printed.out.splitlines() if "problem:" in line]
    assert message in problem
    assert "folder train: 3 pairs, 0 problems" in printed.out
    assert "folder val: 3 pairs, 1 problems" in printed.out


def test_wrong_commands_have_another_exit_status(root, capsys):
    shutil.rmtree(root / "val")
    status, printed = run(root, capsys)
    assert status == 2 and "val/images: no such folder" in printed.err
    assert cli.run(check.main, ["check"]) == 2
    assert "missing: --config; --help" in capsys.readouterr().err


def test_classification_has_no_pixels_to_count(capsys):
    flags = ["--config=configs/cifar10.py:smoke"]
    assert cli.run(check.main, ["check", *flags]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "discs train: 2000 pairs, 0 problems"
    assert lines[2].split() == ["id", "class", "images"]
    assert lines[3].split() == ["0", "red", "200"]
    assert not any("pixels" in line or "ignored" in line for line in lines)
