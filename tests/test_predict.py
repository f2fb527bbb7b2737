"""Labelling files: three PNGs each, original sizes, broken files told."""

import numpy as np
import pytest
from PIL import Image

from encnet_jax import pictures
from encnet_jax.config import defaults
from encnet_jax.errors import UserError
from encnet_jax.evaluate import predict as predict_lib
from encnet_jax.labels import IGNORE_LABEL

COLOURS = np.asarray([[10, 20, 30], [200, 100, 50], [0, 255, 0]], np.uint8)


class FakeEvaluator:
    """Labels pixels by whether they are bright."""

    def predict(self, variables, examples):
        for example in examples:
            yield example, (example["image"][..., 0] > 127).astype(np.uint8)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(
        predict_lib.run_lib,
        "load",
        lambda *a, **k: (FakeEvaluator(), None, defaults.get_config(), 7),
    )
    monkeypatch.setattr(
        predict_lib, "dataset_info", lambda data: type("I", (), {"colours": COLOURS})
    )
    source = tmp_path / "in"
    source.mkdir()
    image = np.zeros((30, 41, 3), np.uint8)
    image[:, 20:] = 255
    Image.fromarray(image).save(source / "good.png")
    return source


def test_three_pictures_of_the_original_size(folder, tmp_path):
    assert predict_lib.predict_files("run", str(folder), str(tmp_path / "out")) == 0
    expected = np.zeros((30, 41), np.uint8)
    expected[:, 20:] = 1
    with Image.open(tmp_path / "out/good_ids.png") as ids:
        assert ids.mode == "P"
        np.testing.assert_array_equal(np.asarray(ids), expected)
        np.testing.assert_array_equal(np.asarray(ids.convert("RGB")), COLOURS[expected])
    with Image.open(tmp_path / "out/good_colour.png") as colour:
        np.testing.assert_array_equal(np.asarray(colour), COLOURS[expected])
    with Image.open(tmp_path / "out/good_overlay.png") as mixed:
        np.testing.assert_array_equal(np.asarray(mixed)[0, 0], COLOURS[0] // 2)


def test_broken_image_is_told_and_the_rest_go_on(folder, tmp_path, capsys):
    (folder / "broken.jpg").write_bytes(b"not an image")
    whole = (folder / "good.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    assert predict_lib.predict_files("run", str(folder), str(tmp_path / "out")) == 1
    captured = capsys.readouterr()
    assert "broken.jpg: cannot be decoded" in captured.err
    assert "cut.png: cannot be decoded" in captured.err
    assert "labelled 1 of 3 images" in captured.out


def test_inputs_are_checked(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        predict_lib.list_images(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no images in"):
        predict_lib.list_images(tmp_path)
    (tmp_path / "a.png").touch()
    (tmp_path / "a.jpg").touch()
    with pytest.raises(UserError, match="several images .* are called a"):
        predict_lib.list_images(tmp_path)


def test_void_is_white_in_pictures():
    label = np.asarray([[0, IGNORE_LABEL]], np.uint8)
    coloured = pictures.colourise(label, COLOURS)
    np.testing.assert_array_equal(coloured, [[[10, 20, 30], [255, 255, 255]]])
    row = pictures.side_by_side(coloured, label, label, COLOURS)
    assert row.shape == (1, 6, 3)


def test_nothing_of_the_users_is_written_over(folder, tmp_path):
    mask = folder / "good_ids.png"
    mask.write_bytes(b"the user's own")
    for source in (folder, folder / "good.png"):
        for overwrite in (False, True):
            with pytest.raises(UserError, match="is the folder of the images"):
                predict_lib.predict_files(
                    "run", str(source), str(folder), overwrite=overwrite
                )
    assert mask.read_bytes() == b"the user's own"
    mask.unlink()
    places = "run", str(folder), str(tmp_path / "out")
    assert predict_lib.predict_files(*places) == 0
    (tmp_path / "out/good_ids.png").write_bytes(b"edited since")
    with pytest.raises(UserError, match="good_ids.png is there already.*--overwrite"):
        predict_lib.predict_files(*places)
    assert (tmp_path / "out/good_ids.png").read_bytes() == b"edited since"
    assert predict_lib.predict_files(*places, overwrite=True) == 0
    assert (tmp_path / "out/good_ids.png").read_bytes().startswith(b"\x89PNG")


def fake(monkeypatch, predict):
    evaluator = FakeEvaluator()
    evaluator.predict = predict
    loaded = evaluator, None, defaults.get_config(), 7
    monkeypatch.setattr(predict_lib.run_lib, "load", lambda *a, **k: loaded)


def test_pixels_without_finite_scores_are_refused(
    folder, tmp_path, capsys, monkeypatch
):
    def overflowing(variables, examples):
        for example in examples:
            yield example, np.full((30, 41), IGNORE_LABEL, np.uint8)

    fake(monkeypatch, overflowing)
    assert predict_lib.predict_files("run", str(folder), str(tmp_path / "out")) == 1
    assert not list((tmp_path / "out").iterdir())
    message = "good: the scores of 1230 of 1230 pixels are NaN or infinite"
    assert message in capsys.readouterr().err


def test_an_image_that_does_not_fit_is_named_and_the_others_go_on(
    folder, tmp_path, capsys, monkeypatch
):
    def small(variables, examples):
        together = list(examples)  # As a batch of them all.
        if any(len(example["image"]) > 40 for example in together):
            raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")
        yield from FakeEvaluator().predict(variables, together)

    fake(monkeypatch, small)
    Image.new("RGB", (90, 50)).save(folder / "large.png")
    (folder / "._good.png").write_bytes(b"of macOS, no image")
    assert predict_lib.predict_files("run", str(folder), str(tmp_path / "out")) == 1
    assert len(list((tmp_path / "out").iterdir())) == 3
    printed = capsys.readouterr()
    assert "large: 90x50 pixels do not fit into memory" in printed.err
    assert "labelled 1 of 2 images" in printed.out
