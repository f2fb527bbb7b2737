"""Labelling files: pictures and scores of original sizes, refused files reported."""

import numpy as np
import pytest
from PIL import Image

from encnet_jax import cli, pictures
from encnet_jax.commands import predict
from encnet_jax.data import decode
from encnet_jax.errors import UserError
from encnet_jax.inference import files, model, reading
from encnet_jax.labels import IGNORE_LABEL

COLOURS = np.asarray([[10, 20, 30], [200, 100, 50], [0, 255, 0]], np.uint8)


class FakeModel:
    """Labels pixels by whether they are bright."""

    colours, step = COLOURS, 7

    def __init__(self, fields):
        limit = fields.get("data.max_megapixels", 1) * 1e6
        self.rules = decode.ImageRules(limit, tuple(fields.get("data.value_range", ())))

    def read(self, path):
        return reading.read(path, self.rules)

    def describe(self, examples, pixel_fn, done):
        for example in examples:
            labels = (example["image"][..., 0] > 127).astype(np.uint8)
            done(1)
            if pixel_fn is files.pixels.labels:
                yield example, {"labels": labels}
                continue
            classes = np.stack([labels, 1 - labels], -1)
            yield (
                example,
                {
                    "labels": labels,
                    "top_classes": classes,
                    "top_probabilities": (1 - classes).astype(np.float16),
                    "confidence": (labels * 40000).astype(np.uint16),
                    "entropy": (labels * 300).astype(np.uint16),
                },
            )


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(model, "load", lambda *_, fields, **options: FakeModel(fields))
    source = tmp_path / "in"
    source.mkdir()
    image = np.zeros((30, 41, 3), np.uint8)
    image[:, 20:] = 255
    Image.fromarray(image).save(source / "good.png")
    return source


def run(folder, *flags):
    """Returns the exit status and the folder of the outputs."""
    output = folder.parent / "out"
    places = (f"--input={folder}", f"--output={output}", "--workdir=run")
    return cli.run(predict.main, ["predict.py", *places, *flags]), output


def test_three_pictures_of_the_original_size(folder):
    status, out = run(folder)
    assert status == 0 and len(list(out.iterdir())) == 3
    expected = np.zeros((30, 41), np.uint8)
    expected[:, 20:] = 1
    with Image.open(out / "good_ids.png") as ids:
        assert ids.mode == "P"
        np.testing.assert_array_equal(np.asarray(ids), expected)
        np.testing.assert_array_equal(np.asarray(ids.convert("RGB")), COLOURS[expected])
    with Image.open(out / "good_colour.png") as colour:
        np.testing.assert_array_equal(np.asarray(colour), COLOURS[expected])
    with Image.open(out / "good_overlay.png") as mixed:
        np.testing.assert_array_equal(np.asarray(mixed)[0, 0], COLOURS[0] // 2)


def test_scores_are_written_with_16_bits(folder):
    status, out = run(folder, "--scores")
    assert status == 0 and len(list(out.iterdir())) == 6
    with Image.open(out / "good_confidence.png") as picture:
        assert picture.mode.startswith("I")
        np.testing.assert_array_equal(np.unique(np.asarray(picture)), [0, 40000])
    with Image.open(out / "good_entropy.png") as picture:
        np.testing.assert_array_equal(np.unique(np.asarray(picture)), [0, 300])
    with np.load(out / "good_top.npz") as top:
        assert top["classes"].shape == (30, 41, 2)
        np.testing.assert_array_equal(top["classes"][0, 40], [1, 0])
        np.testing.assert_array_equal(top["probabilities"][0, 40], [0, 1])


def test_broken_images_are_reported_and_the_rest_go_on(folder, capsys):
    (folder / "broken.jpg").write_bytes(b"not an image")
    whole = (folder / "good.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    Image.new("RGB", (50, 50)).save(folder / "large.png")
    status, _ = run(folder, "--max_megapixels=0.0013")
    captured = capsys.readouterr()
    assert status == 1
    assert "broken.jpg: cannot be decoded" in captured.err
    assert "cut.png: cannot be decoded" in captured.err
    assert "large.png: has 50x50 pixels; wanted at most 0.0013 million" in captured.err
    assert "labelled 1 of 4 images with step 7" in captured.out


def test_16_bits_want_their_range(folder, capsys):
    grey = np.full((30, 41), 1000, np.uint16)
    grey[:, 20:] = 3000
    Image.fromarray(grey).save(folder / "deep.png")
    assert run(folder)[0] == 1
    assert "deep.png: is grey with more than 8 bits" in capsys.readouterr().err
    status, out = run(folder, "--value_range=0,4095")
    assert status == 0
    np.testing.assert_array_equal(
        np.asarray(Image.open(out / "deep_ids.png")),
        np.asarray(Image.open(out / "good_ids.png")),
    )
    assert run(folder, "--value_range=3")[0] == 2
    assert "--value_range is 3, wanted BLACK,WHITE" in capsys.readouterr().err


def test_inputs_are_checked(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        files.list_images(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no images in"):
        files.list_images(tmp_path)
    (tmp_path / "a.png").touch()
    (tmp_path / "a.jpg").touch()
    with pytest.raises(UserError, match="several images .* are called a"):
        files.list_images(tmp_path)


def test_void_is_white_in_pictures():
    label = np.asarray([[0, IGNORE_LABEL]], np.uint8)
    coloured = pictures.colourise(label, COLOURS)
    np.testing.assert_array_equal(coloured, [[[10, 20, 30], [255, 255, 255]]])
    row = pictures.side_by_side(coloured, label, label, COLOURS)
    assert row.shape == (1, 6, 3)
