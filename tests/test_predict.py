"""Labelling files: three PNGs each, original sizes, broken files told."""

import numpy as np
import pytest
from PIL import Image

from encnet_jax import canvas, eval_lib, predict_lib
from encnet_jax.errors import UserError
from encnet_jax.losses import IGNORE_LABEL
from encnet_jax.models.resize import resize_bilinear
from encnet_jax.report import pictures

COLOURS = np.asarray([[10, 20, 30], [200, 100, 50], [0, 255, 0]], np.uint8)


class FakeEvaluator:
    """Labels pixels by whether they are bright."""

    def predict(self, variables, examples):
        for example in examples:
            yield example, (example["image"][..., 0] > 127).astype(np.uint8)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(
        predict_lib.eval_run,
        "load",
        lambda *a, **k: (FakeEvaluator(), None, type("C", (), {"data": None}), 7),
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
    assert "broken.jpg: not a readable image" in captured.err
    assert "cut.png: not a readable image" in captured.err
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


@pytest.mark.parametrize(("scale", "align_corners"), [(1.0, True), (0.5, True), (1.0, False)])
def test_canvas_maps_logits_to_native_pixels(scale, align_corners):
    """One matrix for each side equals upsample, crop, resize."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (70, 100, 3)).astype(np.uint8)
    placed = canvas.place(
        image, scale=scale, bucket=64, output_stride=8, align_corners=align_corners
    )
    scaled = (round(70 * scale), round(100 * scale))
    assert placed.image.shape == (128, 128, 3) if scale == 1 else (64, 64, 3)
    assert not placed.image[scaled[0] :].any() and not placed.image[:, scaled[1] :].any()
    logits = rng.standard_normal((1, *(s // 8 for s in placed.image.shape[:2]), 5))
    x = resize_bilinear(
        np.float32(logits), *placed.image.shape[:2], align_corners=align_corners
    )
    x = resize_bilinear(x[:, : scaled[0], : scaled[1]], 70, 100, align_corners)
    ids = eval_lib.native_ids(np.float32(logits), placed.rows[None], placed.columns[None])
    agreement = np.mean(np.asarray(ids)[0, :70, :100] == np.argmax(x[0], -1))
    assert agreement > 0.999


def test_batches_never_mix_sizes_and_lose_nothing():
    sizes = [(50, 60), (70, 60), (64, 64), (10, 10), (65, 1)]
    examples = [
        {"image": np.full((*s, 3), 9, np.uint8), "label": np.zeros(s, np.uint8), "id": i}
        for i, s in enumerate(sizes)
    ]

    def place(image):
        return canvas.place(image, scale=1, bucket=64, output_stride=8)

    seen, shapes, pixels = [], [], 0
    for members, arrays in eval_lib.canvas_batches(examples, 2, place):
        seen += [m["id"] for m in members]
        shapes.append(arrays["image"].shape)
        pixels += np.sum(arrays["label"] != IGNORE_LABEL)
    assert sorted(seen) == [0, 1, 2, 3, 4]
    assert sorted(shapes) == [(2, 64, 64, 3)] * 2 + [(2, 128, 64, 3)]
    assert pixels == sum(h * w for h, w in sizes)
