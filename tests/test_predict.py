"""Labelling files: images and scores in the original size, and refused files."""

import json

import numpy as np
import pytest
from PIL import Image

from encnet_jax import cli, pictures
from encnet_jax.commands import predict
from encnet_jax.data.sources import decode
from encnet_jax.errors import UserError
from encnet_jax.inference import inputs, model, pixels, reading
from encnet_jax.labels import IGNORE_LABEL

COLOURS = np.asarray([[10, 20, 30], [200, 100, 50], [0, 255, 0]], np.uint8)


class FakeModel:
    """Labels pixels by whether they are bright."""

    colours, step = COLOURS, 7
    class_names = ("dark", "bright", "other")
    expected: list[list[str]] = []

    def __init__(self, fields):
        limit = fields.get("data.max_megapixels", 1) * 1e6
        self.rules = decode.ImageRules(limit, tuple(fields.get("data.value_range", ())))

    def read(self, path, note=None):
        return reading.read(path, self.rules._replace(note=note))

    def expect(self, paths):
        """Records the files for which canvases are chosen."""
        self.expected.append(sorted(path.name for path in paths))

    def describe(self, examples, pixel_fn, done):
        for example in examples:
            labels = (example["image"][..., 0] > 127).astype(np.uint8)
            done(1)
            if pixel_fn is pixels.labels:
                yield example, {"labels": labels}
                continue
            classes = np.stack([labels, 1 - labels], -1)
            yield (
                example,
                {
                    "labels": labels,
                    "top_classes": classes,
                    "top_probabilities": (1 - classes).astype(np.float16),
                    "confidence": labels.astype(np.uint16) * 40000,
                    "entropy": labels.astype(np.uint16) * 300,
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


def test_three_images_of_the_original_size(folder):
    status, out = run(folder)
    assert status == 0 and len(list(out.iterdir())) == 5
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
    assert status == 0 and len(list(out.iterdir())) == 9
    with Image.open(out / "good_confidence.png") as picture:
        assert picture.mode.startswith("I")
        np.testing.assert_array_equal(np.unique(np.asarray(picture)), [0, 40000])
    with Image.open(out / "good_entropy.png") as picture:
        np.testing.assert_array_equal(np.unique(np.asarray(picture)), [0, 300])
    with np.load(out / "good_top.npz") as top:
        assert top["classes"].shape == (30, 41, 2)
        np.testing.assert_array_equal(top["classes"][0, 40], [1, 0])
        np.testing.assert_array_equal(top["probabilities"][0, 40], [0, 1])


def test_an_image_is_freed_once_it_is_written(folder, monkeypatch):
    seen, describe = [], FakeModel.describe

    def watched(*arguments):
        for example, found in describe(*arguments):
            seen.append((example, found))
            yield example, found

    monkeypatch.setattr(FakeModel, "describe", watched)
    assert run(folder, "--scores")[0] == 0
    assert seen == [({"id": "good"}, {})]


def test_damaged_images_are_reported_and_the_others_labelled(folder, capsys):
    (folder / "broken.jpg").write_bytes(b"not an image")
    whole = (folder / "good.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    Image.new("RGB", (50, 50)).save(folder / "large.png")
    status, _ = run(folder, "--max_megapixels=0.0013")
    captured = capsys.readouterr()
    assert status == 1
    assert "broken.jpg: cannot be decoded" in captured.err
    assert "cut.png: cannot be decoded" in captured.err
    assert "large.png: has 50x50 pixels; expected at most 1300" in captured.err
    assert "labelled 1 of 4 images with step 7" in captured.out


def test_16_bit_images_require_a_value_range(folder, capsys):
    grey = np.full((30, 41), 1000, np.uint16)
    grey[:, 20:] = 3000
    Image.fromarray(grey).save(folder / "deep.png")
    assert run(folder)[0] == 1
    assert "than 8 bits (mode I;16B)" in capsys.readouterr().err
    status, out = run(folder, "--value_range=0,4095", "--overwrite")
    assert status == 0
    np.testing.assert_array_equal(
        np.asarray(Image.open(out / "deep_ids.png")),
        np.asarray(Image.open(out / "good_ids.png")),
    )
    assert run(folder, "--value_range=3")[0] == 2
    assert (
        "--value_range is 3; expected two distinct numbers BLACK,WHITE"
        in capsys.readouterr().err
    )


def test_inputs_are_checked(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        inputs.list_images(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no images in"):
        inputs.list_images(tmp_path)
    (tmp_path / "a.png").touch()
    (tmp_path / "a.jpg").touch()
    with pytest.raises(UserError, match="several images .* have the name a"):
        inputs.list_images(tmp_path)


def test_classes_and_a_legend_explain_the_colours(folder):
    status, out = run(folder, "--transparent=dark")
    assert status == 0
    classes = json.loads((out / "classes.json").read_text())["classes"]
    assert classes[1] == {"id": 1, "name": "bright", "colour": [200, 100, 50]}
    with Image.open(out / "legend.png") as legend:
        colours = {colour for _, colour in legend.convert("RGB").getcolors(1 << 16)}
    assert {(10, 20, 30), (200, 100, 50), (0, 255, 0)} <= colours
    with Image.open(out / "good_overlay.png") as mixed:
        pixels = np.asarray(mixed)
    assert pixels[0, 0].tolist() == [0, 0, 0] and pixels[0, 40].tolist() == [
        227,
        177,
        152,
    ]
    assert run(folder, "--transparent=sky", "--overwrite")[0] == 2


def test_each_folder_is_read_once_and_under_its_own_name(tmp_path, capsys):
    for name in ("b", "b/c~"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / name / "x.png")
    for link in ("a", "b/up", "b/self"):
        (tmp_path / link).symlink_to(tmp_path if link == "b/up" else tmp_path / "b")
    found = inputs.list_inputs([str(tmp_path)], recursive=True)
    assert set(found) == {"b/x", "b/c~/x"}
    shown = capsys.readouterr().err
    for link in ("a", "b/up", "b/self"):
        line = f"{tmp_path / link} (a link to a folder that is read under another name)"
        assert f"left out: {line}\n" in shown


def test_several_inputs_folders_in_folders_and_patterns(folder, capsys):
    (folder / "deep").mkdir()
    for name, mode in (("deep/good.png", "RGBA"), ("b.jpg", "CMYK")):
        Image.new(mode, (8, 8)).save(folder / name)
    (folder / "notes.txt").touch()
    assert run(folder)[0] == 0
    shown = capsys.readouterr()
    assert f"left out: {folder}/deep (a folder; --recursive reads it)" in shown.err
    assert f"left out: {folder}/notes.txt (expected JPEG" in shown.err
    assert "b.jpg: has channels CMYK; converted to RGB" in shown.err
    assert "labelled 2 of 2 images" in shown.out
    status, out = run(folder, "--recursive", "--overwrite")
    shown = capsys.readouterr()
    assert status == 0 and "labelled 3 of 3 images" in shown.out
    assert "good.png: has channels RGBA; the transparency is dropped" in shown.err
    with Image.open(out / "deep" / "good_ids.png") as ids:
        assert ids.size == (8, 8)
    assert run(folder, "--recursive")[0] == 2
    words = ("--workdir=run", f"--output={out}2", f"{folder}/g*.png", f"{folder}/b.jpg")
    assert cli.run(predict.main, ["predict.py", *words]) == 0
    assert {path.name for path in (out.parent / "out2").glob("*_ids.png")} == {
        "good_ids.png",
        "b_ids.png",
    }
    assert cli.run(predict.main, ["predict.py", *words, f"{folder}/deep"]) == 2
    assert "would both be named good: rename" in capsys.readouterr().err
    assert cli.run(predict.main, ["predict.py", "--workdir=run", f"{folder}/x*"]) == 2
    assert "no file matches the pattern" in capsys.readouterr().err


def test_void_is_white_in_colour_images():
    label = np.asarray([[0, IGNORE_LABEL]], np.uint8)
    coloured = pictures.colourise(label, COLOURS)
    np.testing.assert_array_equal(coloured, [[[10, 20, 30], [255, 255, 255]]])
    row = pictures.side_by_side(coloured, label, label, COLOURS)
    assert row.shape == (1, 6, 3)


def test_existing_files_are_not_overwritten(folder, tmp_path, capsys):
    mask = folder / "good_ids.png"
    mask.write_bytes(b"the user's own")
    for flags in ((), ("--overwrite",)):
        command = ["predict.py", f"--input={folder}", "--workdir=run", *flags]
        assert cli.run(predict.main, [*command, f"--output={folder}"]) == 2
        assert "is the folder of the images" in capsys.readouterr().err
    assert mask.read_bytes() == b"the user's own"
    mask.unlink()
    status, output = run(folder)
    assert status == 0
    (output / "good_ids.png").write_bytes(b"edited since")
    assert run(folder)[0] == 2
    error = capsys.readouterr().err
    assert "good_ids.png already exists" in error and "--overwrite" in error
    assert (output / "good_ids.png").read_bytes() == b"edited since"
    assert run(folder, "--overwrite")[0] == 0
    assert (output / "good_ids.png").read_bytes().startswith(b"\x89PNG")


def test_pixels_without_finite_scores_are_refused(folder, capsys, monkeypatch):
    def overflowing(self, examples, pixel_fn, done):
        for example in examples:
            yield example, {"labels": np.full((30, 41), IGNORE_LABEL, np.uint8)}

    monkeypatch.setattr(FakeModel, "describe", overflowing)
    status, output = run(folder)
    assert status == 1 and not list(output.iterdir())
    message = "good: the scores of 1230 of 1230 pixels are NaN or infinite"
    assert message in capsys.readouterr().err


def test_an_image_too_large_for_memory_is_reported_and_the_others_labelled(
    folder, capsys, monkeypatch
):
    describe = FakeModel.describe

    def small(self, examples, pixel_fn, done):
        together = list(examples)  # As a batch of them all.
        if any(len(example["image"]) > 40 for example in together):
            raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")
        yield from describe(self, together, pixel_fn, done)

    monkeypatch.setattr(FakeModel, "describe", small)
    monkeypatch.setattr(FakeModel, "expected", [])
    Image.new("RGB", (90, 50)).save(folder / "large.png")
    (folder / "._good.png").write_bytes(b"of macOS, no image")
    status, output = run(folder)
    assert status == 1 and len(list(output.iterdir())) == 5
    printed = capsys.readouterr()
    assert "large: 90x50 pixels do not fit into memory" in printed.err
    assert "labelled 1 of 2 images" in printed.out
    assert FakeModel.expected == [["good.png", "large.png"], []]  # Given up.
