"""Pictures of gates, fitted temperatures, and summaries of scores."""

import json

import numpy as np
import pytest
import untrained
from PIL import Image

import encnet_jax
from encnet_jax.errors import UserError
from encnet_jax.evaluate import calibrate
from encnet_jax.evaluate import run as run_lib
from encnet_jax.evaluate.loading import Selection
from encnet_jax.inference import files
from encnet_jax.report import compared
from encnet_jax.report import context as context_report


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "encnet"
    untrained.save(folder, **{"eval.max_images": 3})
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for name, level in (("dark", 60), ("light", 200)):
        pixels = rng.normal(level, 30, (48, 64, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


def test_context_of_an_image(run, images):
    model = encnet_jax.load(run)
    found = model.context(images / "dark.png")
    assert found.features.shape[:2] == found.assignment.shape[:2] == (6, 8)
    np.testing.assert_allclose(found.codeword_usage().sum(), 1, rtol=1e-5)
    presence = model(str(images / "dark.png")).presence
    np.testing.assert_allclose(found.presence, presence, rtol=1e-3)
    other = model.context(images / "light.png")
    assert np.abs(found.gates - other.gates).max() > 1e-6


def test_context_is_drawn(run, images, tmp_path, capsys):
    command = ["context", str(run), str(images / "dark.png"), str(images / "light.png")]
    context_report.main([*command, f"--output={tmp_path}"])
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"dark.png.png", "light.png.png", "differences.png"}
    assert "2 images" in capsys.readouterr().out


def test_a_network_without_the_module_is_refused(tmp_path, images):
    untrained.save(tmp_path / "fcn", "fcn")
    model = encnet_jax.load(tmp_path / "fcn")
    with pytest.raises(UserError, match="expected a run with model.name=encnet"):
        model.context(images / "dark.png")
    assert model(str(images / "dark.png")).presence is None


def test_temperature_is_fitted_on_other_images(run, capsys):
    calibrate.main(["calibrate", str(run), "--number=4"])
    found = json.loads((run / "temperature.json").read_text())
    assert found["split"] == "train"
    assert found["nll_after"] <= found["nll_before"]
    fields = calibrate.temperature_fields(str(run / "temperature.json"))
    assert fields == {"eval.temperature": found["temperature"]}
    reports = [
        run_lib.evaluate_run(str(run), Selection(fields=each)) for each in ({}, fields)
    ]
    before, after = (report["quality"] for report in reports)
    assert after["temperature"] == found["temperature"]
    assert after["nll"] < before["nll"]
    assert reports[0]["iou"] == reports[1]["iou"]
    with pytest.raises(UserError, match="the split that is scored"):
        calibrate.main(["calibrate", str(run), "--split=val"])


def test_other_values_of_temperature_are_refused(tmp_path):
    assert calibrate.temperature_fields("1.5") == {"eval.temperature": 1.5}
    with pytest.raises(UserError, match="expected a number above 0, or a file"):
        calibrate.temperature_fields("warm")
    (tmp_path / "whole.json").write_text('{"temperature": 2}')
    fields = calibrate.temperature_fields(str(tmp_path / "whole.json"))
    assert fields == {"eval.temperature": 2}
    (tmp_path / "other.json").write_text('{"temperature": "hot"}')
    with pytest.raises(UserError, match="has no numeric field 'temperature'"):
        calibrate.temperature_fields(str(tmp_path / "other.json"))


def test_predictions_come_with_a_summary(run, images, tmp_path, capsys):
    model = encnet_jax.load(run)
    paths = files.prepare([str(images)], str(tmp_path / "out"), scores=True)
    assert files.predict_files(model, paths, str(tmp_path / "out"), top=2) == 0
    found = json.loads((tmp_path / "out" / "scores.json").read_text())["summaries"]
    assert sorted(each["image"] for each in found) == ["dark", "light"]
    confidences = [each["mean_confidence"] for each in found]
    assert confidences == sorted(confidences)
    for each in found:
        result = model(str(images / f"{each['image']}.png"))
        assert each["mean_confidence"] == pytest.approx(
            result.confidence.mean(), abs=1e-4
        )
        expected = dict(zip(model.class_names, result.presence, strict=True))
        assert each["presence"] == pytest.approx(expected, rel=1e-3)
        assert sum(each["pixels"].values()) == pytest.approx(1)
    assert f"least confident: {found[0]['image']}, " in capsys.readouterr().out


def test_a_foreign_scores_file_is_kept(images, tmp_path):
    (tmp_path / "scores.json").write_text("[]")
    with pytest.raises(UserError, match="not written by encnet_jax"):
        files.prepare([str(images)], str(tmp_path), scores=True)


def test_bootstrap_brackets_the_difference():
    """A second run that finds a tenth more of each image."""
    rng = np.random.default_rng(0)
    labelled = rng.integers(500, 1500, (60, 4))
    correct = (labelled * rng.uniform(0.3, 0.6, (60, 4))).astype(int)
    better = correct + labelled // 10
    runs = [np.stack([x, labelled, labelled], axis=1) for x in (correct, better)]
    found = compared.bootstrap(*runs)
    iou = [
        (x.sum(0) / (2 * labelled.sum(0) - x.sum(0))).mean() for x in (correct, better)
    ]
    assert found.value == pytest.approx(iou[1] - iou[0])
    assert 0 < found.low < found.value < found.high
    same = compared.bootstrap(runs[0], runs[0])
    assert same == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("names", [("a/x.png", "b/x.png"), ("differences", "x.png")])
def test_images_whose_pictures_have_one_name_are_refused(names, tmp_path):
    name = f"{names[0].split('/')[-1]}.png"
    with pytest.raises(UserError, match=f"several figures would have the name {name}"):
        context_report.main(["context", "run", *names, f"--output={tmp_path}"])
