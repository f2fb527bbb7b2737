"""From a checkpoint to a report: fields, rules, options, and runs of old versions."""

import dataclasses
import json
import shutil
import zipfile
from functools import partial

import flax.linen as nn
import jax
import made_datasets
import numpy as np
import pytest
from PIL import Image

import encnet_jax
import eval as eval_cli
from encnet_jax import cli, tasks
from encnet_jax import config as config_lib
from encnet_jax.checkpoints import read
from encnet_jax.data.prepare.__main__ import prepare
from encnet_jax.data.sets import scenes
from encnet_jax.errors import UserError
from encnet_jax.evaluate import precise_norm, tables
from encnet_jax.evaluate import run as run_lib
from encnet_jax.evaluate.loading import Selection
from encnet_jax.models.norm import GroupedAxis, SyncBatchNorm
from encnet_jax.pods.signals import StopRequest
from encnet_jax.preprocess import normalise
from encnet_jax.report import compare
from encnet_jax.scoring.metrics import ConfusionMatrix
from encnet_jax.tasks import network
from encnet_jax.train.assemble import init_variables


def tiny_config(**fields):
    config = config_lib.load("configs/quickstart.py:smoke,fcn")
    config.model.head_channels = 8
    config.model.dropout = 0.0
    config.data.crop_size = 32
    config.eval.base_size, config.eval.crop_size = 64, 64
    config.eval.scales = (0.5, 1.0)
    config.eval.max_images = 3
    config.update_from_flattened_dict(fields)
    return config


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """A checkpoint of random weights, saved without the newest fields."""
    workdir = tmp_path_factory.mktemp("runs") / "untrained"
    config = config_lib.resolve(tiny_config(), config_lib.Facts(400))
    model = tasks.of(config).build_model(13)
    variables = jax.device_get(
        init_variables(model, config.seed, config.data.crop_size)
    )
    older = json.loads(config_lib.to_json(config))
    for name in ("precise_norm_steps", "small_object_px", "bucket"):
        del older["eval"][name]
    del older["train"]["val_protocol"]
    older = config_lib.from_dict(older)
    read.save_variables(str(workdir), variables, older)
    return workdir


@pytest.mark.parametrize("split", ["a/b", "../val", "val(2)", "x" * 101, "a\nb", ""])
def test_a_split_that_cannot_be_part_of_a_file_name_is_refused(split):
    with pytest.raises(UserError, match=r"^the split is .*; expected 1 to 100 letters"):
        tables.check_split(split)
    tables.check_split("val-2.1")


def test_a_report_states_protocol_and_rule(untrained, capsys):
    fields = {"eval.small_object_px": 500}
    report = run_lib.evaluate_run(
        str(untrained), Selection(protocol="release", fields=fields)
    )
    assert json.loads((untrained / "report.json").read_text()) == report
    kept = untrained / "report-val-release.json"
    assert json.loads(kept.read_text()) == report
    assert report["protocol"] == {
        "name": "release",
        "base_size": 64,
        "crop_size": 64,
        "scales": [0.5, 1.0],
        "flip": True,
    }
    scores = {"mean_iou", "pixel_accuracy", "mean_iou_small", "mean_iou_large"}
    assert {f"val/release/{name}" for name in scores} <= report.keys()
    assert report["images"] == 3 and report["step"] == 0
    assert report["rule"].endswith("classes that never occur count as 0")
    text = capsys.readouterr().out
    assert "small %" in text and f"rule: {report['rule']}" in text


def test_a_positive_class_has_thresholds(untrained, monkeypatch, tmp_path, capsys):
    info = dataclasses.replace(scenes.DATA_SET, positive_class=0)
    monkeypatch.setattr(scenes, "DATA_SET", info)
    report = run_lib.evaluate_run(str(untrained), output=str(tmp_path))
    text = capsys.readouterr().out
    for name in ("max_f_image", "average_precision_image"):
        score = report[f"val/single/{name}"]
        assert f"val/single/{name}: {100 * score:.2f} %" in text
    # Threshold 0 finds every pixel of the class, and nearly two thirds are of it.
    assert report["val/single/max_f_image"] > 0.5
    assert "val/single/max_f_bev" not in report


def test_missing_fields_take_their_defaults(untrained):
    earlier = {"val/release/mean_iou": 0.25}
    tables.save_report(untrained / "report-val-release.json", earlier)
    report = run_lib.evaluate_run(str(untrained))
    kept = json.loads((untrained / "report-val-release.json").read_text())
    assert kept == earlier  # Another protocol leaves it alone.
    protocol = {"name": "single", "input_scale": 1.0, "bucket": 64}
    assert report["protocol"] == protocol | {"upsampled": "logits"}
    assert report["precise_norm_steps"] == 0


def test_a_comparison_states_run_and_protocol(untrained, tmp_path, capsys):
    output = tmp_path / "compare.png"
    arguments = ["compare", str(untrained), "--number=2", f"--output={output}"]
    compare.main([*arguments, "--protocol=release"])
    assert f"2 images, untrained (release): {output}" in capsys.readouterr().out
    with pytest.raises(UserError, match="2 --titles for 1 runs; expected one title"):
        compare.main([*arguments, "--titles=a,b"])


def test_failures_are_the_images_with_the_lowest_scores(untrained, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(untrained, run)
    config = config_lib.resolve(tiny_config(), config_lib.Facts(400))
    (run / "config.json").write_text(config_lib.to_json(config))
    run_lib.evaluate_run(str(run))
    with np.load(run / "images-val-single-0.npz") as saved:
        right, labelled, predicted = np.moveaxis(saved["counts"], 1, 0).astype(float)
        ids = saved["ids"].tolist()
    union = labelled + predicted - right
    scores = [np.mean(r[u > 0] / u[u > 0]) for r, u in zip(right, union, strict=True)]
    expected = [ids[i] for i in np.argsort(scores)]
    found = compare.worst_images(str(run), None, None, 2)
    assert found == ("val", expected[:2])
    arguments = ["compare", str(run), f"--output={tmp_path / 'a.png'}"]
    compare.main([*arguments, "--worst", "--number=1"])
    assert "1 images, run (single)" in capsys.readouterr().out
    with pytest.raises(UserError, match="--worst and --ids both choose examples"):
        compare.main([*arguments, "--worst", "--ids=a"])


def test_a_submission_requires_its_data_set(untrained, tmp_path):
    output = str(tmp_path / "a.zip")
    message = "'scenes', but .* ade20k expects a run on 'ade20k'"
    with pytest.raises(UserError, match=message):
        run_lib.submit_run(str(untrained), "ade20k", output)
    assert not list(tmp_path.iterdir())


class Brightness:
    """Labels pixels by their red value."""

    def predict(self, variables, examples):
        for example in examples:
            yield example, example["image"][..., 0] // 2


@pytest.mark.tf
def test_a_submission_contains_the_test_images(tmp_path, monkeypatch, capsys):
    made_datasets.ade20k(tmp_path / "source")
    prepare("ade20k", source=str(tmp_path / "source"), data_dir=str(tmp_path))
    config = config_lib.load("configs/ade20k.py")
    config.data.data_dir = str(tmp_path)
    loaded = network.build({}, config_lib.resolve(config), 7)
    monkeypatch.setattr(run_lib, "load", lambda *args, **options: loaded)
    monkeypatch.setattr(network.Network, "evaluator", lambda self, **_: Brightness())
    output = tmp_path / "results.zip"
    run_lib.submit_run("run", "ade20k", str(output))
    message = "2 images labelled by step 7; the archive passed the checks"
    assert message in capsys.readouterr().out
    images = (tmp_path / "source").rglob("ADE_test_*.jpg")
    images = {image.stem: np.asarray(Image.open(image)) for image in images}
    with zipfile.ZipFile(output) as archive:
        names = ["ADE_test_00000001.png", "ADE_test_00000002.png"]
        assert sorted(archive.namelist()) == names
        for name, image in images.items():
            with archive.open(f"{name}.png") as file, Image.open(file) as picture:
                wanted = image[..., 0] // 2 + 1  # Of class c the server wants c + 1.
                np.testing.assert_array_equal(np.asarray(picture), wanted)


def test_measured_statistics_are_those_of_the_batches(untrained):
    """With the statistics of one batch, evaluation gives the outputs of training."""
    config = config_lib.resolve(tiny_config(**{"eval.precise_norm_steps": 1}))
    variables, _ = read.restore_variables(str(untrained))
    dataset = tasks.open_dataset(config)
    batch = next(dataset.train_batches("train", batch_size=8, seed=config.seed))
    untrained_network = network.build(variables, config, 0)
    model = untrained_network.model
    images = untrained_network.task.normalise(batch["image"])
    train = partial(model.apply, train=True, mutable=["batch_stats"])
    keys = {"dropout": jax.random.key(0)}
    expected, _ = jax.jit(train)(variables, images, rngs=keys)
    evaluate = jax.jit(partial(model.apply, train=False))
    measured = precise_norm.recomputed(untrained_network, dataset, StopRequest())
    outputs = evaluate(measured, images)
    np.testing.assert_allclose(
        outputs["logits"],
        expected["logits"],
        atol=2e-4 * np.abs(expected["logits"]).max(),
    )
    before = evaluate(variables, images)["logits"]
    assert np.abs(before - expected["logits"]).max() > 0.1 * np.abs(before).max()


def test_measured_moments_are_averages_over_groups():
    """A single batch norm: groups do not change the moments of its input."""

    class OneNorm(nn.Module):
        @nn.compact
        def __call__(self, images, train):
            return SyncBatchNorm(GroupedAxis("batch", 2), name="norm")(images, train)

    model = OneNorm()
    images = np.random.default_rng(0).integers(0, 256, (8, 1, 4, 4, 3), np.uint8)
    pixels = normalise(images)
    variables = model.init(jax.random.key(0), pixels[0], train=False)
    measure = jax.pmap(
        partial(
            precise_norm.measure_step,
            model=model,
            normalise=normalise,
            seed=0,
            norm_group=2,
        ),
        axis_name="batch",
        in_axes=(None, 0, None),
    )
    found = measure(variables, images, np.int32(0))["norm"]
    for device in range(8):
        for name, wanted in (("mean", pixels), ("var", pixels**2)):
            np.testing.assert_allclose(
                found[name][device], wanted.mean((0, 1, 2, 3)), rtol=1e-5, atol=1e-6
            )


def test_small_and_large_scores_leave_out_classes_without_such_objects():
    config = config_lib.resolve(tiny_config())
    every, small = ConfusionMatrix(13), ConfusionMatrix(13)
    every.update(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 2]))
    small.update(np.array([1, 1]), np.array([1, 2]))
    report = tables.make_report(
        every,
        network.build({"params": {}}, config, 1),
        split="val",
        num_images=1,
        by_size=(small, small),
    )
    assert report["val/single/mean_iou_small"] == 0.5
    present = [score for score in report["iou_small"].values() if score is not None]
    assert present == [0.5]


def test_scores_by_object_size_require_segmentation():
    config = config_lib.load("configs/cifar10.py:resnet64d")
    config.eval.small_object_px = 5
    with pytest.raises(
        UserError, match="eval.small_object_px is 5; expected one of: 0"
    ):
        config_lib.resolve(config)


def test_scales_must_be_positive():
    with pytest.raises(UserError, match="eval.scales is \\(\\); expected"):
        config_lib.resolve(tiny_config(**{"eval.scales": ()}))


def test_any_folder_is_scored_with_the_ids_of_the_run(untrained, tmp_path, capsys):
    rng, predicted = np.random.default_rng(0), 0
    model = encnet_jax.load(untrained, protocol="single")
    images = {name: rng.integers(0, 256, (64, 64, 3), np.uint8) for name in "ab"}
    labels = {name: model(image).labels for name, image in images.items()}
    common = int(np.bincount(labels["a"].ravel()).argmax())
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    for name, image in images.items():
        Image.fromarray(image).save(tmp_path / "images" / f"{name}.png")
        mask = np.full((64, 64), common, np.uint8)
        mask[:10] = 255
        Image.fromarray(mask).save(tmp_path / "masks" / f"{name}.png")
        predicted += np.count_nonzero(labels[name][10:] == common)
    assert predicted > 100
    folders = str(tmp_path / "images"), str(tmp_path / "masks")
    selection = Selection(folders=folders, protocol="single")
    out = str(tmp_path / "out")
    report = run_lib.evaluate_run(str(untrained), selection, output=out)
    assert (report["split"], report["data"]) == ("folder", "folder")
    assert report["images"] == 2
    accuracy = report["folder/single/pixel_accuracy"]
    assert accuracy == pytest.approx(predicted / (2 * 54 * 64))
    assert (tmp_path / "out" / "report-folder-single.json").is_file()
    said = capsys.readouterr().out
    assert f"{untrained}: step 0 (no step is scored, newest is 0)" in said
    words = ["eval.py", f"--workdir={untrained}", "--images=x"]
    assert cli.run(eval_cli.main, words) == 2
    assert "expected both --images and --masks" in capsys.readouterr().err


def test_flags_of_eval_change_fields_of_the_configuration(monkeypatch):
    given = []
    monkeypatch.setattr(
        run_lib, "evaluate_run", lambda run, selection, **_: given.append(selection)
    )
    # Too late for it here: other tests have used JAX.
    monkeypatch.setattr(cli, "join_processes", lambda values: None)
    eval_cli.main(["eval.py", "--workdir=a", "--data_dir=b", "--small_object_px=9"])
    assert given[0].fields == {"data.data_dir": "b", "eval.small_object_px": 9}
