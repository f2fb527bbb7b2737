"""The HTML report: what evaluation keeps of images, what the page shows of it."""

import base64
import dataclasses
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from encnet_jax import cli
from encnet_jax import config as config_lib
from encnet_jax.errors import UserError
from encnet_jax.report import __main__ as report_main
from encnet_jax.report import html, quality_plots, run_files
from encnet_jax.scoring import image_scores
from encnet_jax.scoring.image_scores import ImageScores
from encnet_jax.scoring.metrics import ConfusionMatrix
from encnet_jax.scoring.seen import Seen
from encnet_jax.train.logbook import Logbook

NUM_CLASSES = 13


def example(number, num_wrong):
    """A label map of classes 0 and 1 of which some pixels are predicted as 2."""
    rng = np.random.default_rng(number)
    label = np.zeros((20, 30), np.uint8)
    label[:, 15:] = 1
    label[0, 0] = 255
    prediction = label.copy()
    prediction[0, 0] = 0
    prediction[5].flat[:num_wrong] = 2
    image = rng.integers(0, 256, (20, 30, 3), np.uint8)
    return {"id": f"scene{number}", "image": image, "label": label}, prediction


def pairs(label, prediction):
    matrix = ConfusionMatrix(NUM_CLASSES)
    matrix.update(label, prediction)
    return matrix.counts


def seen(counts, prediction, presence=None):
    """What an evaluator shows of an image."""
    return Seen(counts, lambda: prediction, presence)


def write_run(folder, wrong=(3, 0, 9, 1, 5, 7, 2, 11, 13), split="val", presence=None):
    """A scored run of which no network was asked."""
    folder.mkdir()
    kept, total = ImageScores(), ConfusionMatrix(NUM_CLASSES)
    for number, num_wrong in enumerate(wrong):
        given, prediction = example(number, num_wrong)
        counts = pairs(given["label"], prediction)
        total += ConfusionMatrix.from_counts(counts)
        kept.add(given, seen(counts, prediction, presence))
    kept.save(folder / image_scores.file_name(split, "single", 0), total, 7)
    config = config_lib.resolve(
        config_lib.load("configs/quickstart.py"), config_lib.Facts(400)
    )
    (folder / "config.json").write_text(config_lib.to_json(config))
    names = run_files.dataset_info(config.data).class_names
    ious = [None if np.isnan(x) else float(x) for x in total.iou()]
    report = {
        "val/single/mean_iou": 0.25,
        "val/single/pixel_accuracy": 0.75,
        "iou": dict(zip(names, ious, strict=True)),
        "rule": "classes that never occur count as 0",
        "protocol": {"name": "single", "bucket": 64},
        "versions": {"jax": "9.8.7"},
        "command": "eval.py --workdir here",
        **dict.fromkeys(("model", "data", "devices", "commit"), "<b>"),
        **{"split": split, "images": len(wrong), "step": 3},
        **{"evaluation": 7, "processes": 1},
    }
    for name in ("report.json", f"report-{split}-single.json"):
        (folder / name).write_text(json.dumps(report))
    with Logbook(str(folder), config.train, start_step=0) as logbook:
        logbook.scores(3, {"val/single/mean_iou": 0.25})
    return folder


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "first")


def test_counts_and_the_best_and_worst_images_are_kept(run):
    found = run_files.read(str(run), None, None)
    assert list(found.ids) == [f"scene{i}" for i in range(9)]
    given, prediction = example(4, 5)
    counts = pairs(given["label"], prediction)
    np.testing.assert_array_equal(found.counts[4][0], np.diag(counts))
    np.testing.assert_array_equal(found.counts[4][1], counts.sum(1))
    np.testing.assert_array_equal(found.counts[4][2], counts.sum(0))
    np.testing.assert_array_equal(found.counts[:, 0].sum(0), np.diag(found.confusion))
    best = [str(found.pictures[f"best{i}"]) for i in range(4)]
    worst = [str(found.pictures[f"worst{i}"]) for i in range(4)]
    assert best[0] == "scene1" and worst == ["scene8", "scene7", "scene2", "scene5"]
    given, prediction = example(8, 13)
    for kind, wanted in (("image", given["image"]), ("prediction", prediction)):
        np.testing.assert_array_equal(found.pictures[f"worst0_{kind}"], wanted)


def test_mean_iou_of_an_image_is_over_its_own_classes():
    given, prediction = example(0, 9)
    counts = pairs(given["label"], prediction)
    triple = np.stack([np.diag(counts), counts.sum(1), counts.sum(0)])
    # Of class 0 there are 299 pixels, 9 of them given to class 2, which has none.
    assert image_scores.mean_iou(triple) == pytest.approx((290 / 299 + 1 + 0) / 3)


def test_images_of_several_processes_are_joined(run):
    kept = ImageScores()
    given, prediction = example(20, 15)
    kept.add(given, seen(pairs(given["label"], prediction), prediction))
    path = run / image_scores.file_name("val", "single", 1)
    kept.save(path, ConfusionMatrix(13), 7)
    edit_report(run, processes=2, images=10)
    found = run_files.read(str(run), None, None)
    assert len(found.ids) == 10 and found.pictures["worst0"] == "scene20"
    assert found.pictures["worst1"] == "scene8"
    assert found.confusion.sum() == 9 * 599


def edit_report(run, **members):
    report = json.loads((run / "report.json").read_text())
    (run / "report.json").write_text(json.dumps(report | members))


def test_images_of_an_earlier_evaluation_are_left_out(run):
    """By more processes: their files stay in the folder."""
    kept = ImageScores()
    given, prediction = example(20, 15)
    kept.add(given, seen(pairs(given["label"], prediction), prediction))
    path = run / image_scores.file_name("val", "single", 1)
    kept.save(path, ConfusionMatrix(13), 6)
    assert len(run_files.read(str(run), None, None).ids) == 9
    edit_report(run, processes=2, images=10)
    with pytest.raises(UserError, match="-1.npz and the report are from different"):
        run_files.read(str(run), None, None)
    edit_report(run, processes=3)
    path.rename(run / image_scores.file_name("val", "single", 2))
    with pytest.raises(UserError, match="-1.npz .per-image scores. is missing"):
        run_files.read(str(run), None, None)
    edit_report(run, processes=1, images=8)
    with pytest.raises(UserError, match="9 images, but the report covers 8 images"):
        run_files.read(str(run), None, None)


@pytest.mark.parametrize(
    "members, says",
    [
        ({"protocol": "single"}, "protocol is 'single'; expected an object"),
        ({"split": "../../x"}, "split is '../../x'; expected 1 to 100 letters"),
        ({"images": True}, "images is True; expected a whole number"),
        ({"images": 0}, "images is 0; expected a whole number from 1"),
        ({"step": None}, "step is None"),
        ({"iou": {"ground": "high"}}, "iou has 'ground', which is 'high'"),
        ({"val/single/mean_iou": float("nan")}, "expected a number"),
        ({"processes": 10**9}, "processes is 1000000000"),
        ({"evaluation": [0, 0]}, "evaluation is list"),
        ({"iou": {"sand": 0.5}}, "per-image scores have other classes"),
    ],
)
def test_reports_of_another_shape_are_refused_in_one_line(run, members, says, capsys):
    edit_report(run, **members)
    assert call(run, "--output", run / "a.html") == 2
    shown = capsys.readouterr().err
    assert says in shown and shown.count("\n") == 1
    assert not (run / "a.html").exists()


@pytest.mark.parametrize(
    "name, array",
    [
        ("ids", np.zeros(9, int)),
        ("counts", np.zeros((9, 2, 13), int)),
        ("confusion", np.zeros((13, 12), int)),
        ("counts", np.full((9, 3, 13), -1)),
        ("confusion", np.full((13, 13), -1)),
        ("evaluation", np.zeros(1, int)),
        ("best0", np.asarray(99)),
        ("best0_image", np.zeros((20, 30), np.uint8)),
        ("worst3_label", np.zeros((2, 2), np.uint8)),
        ("best1_image", np.zeros((481, 1, 3), np.uint8)),
    ],
)
def test_scores_of_images_of_another_shape_are_refused(run, name, array):
    path = run / image_scores.file_name("val", "single", 0)
    with np.load(path) as arrays:
        changed = dict(arrays) | {name: array}
    np.savez(path, **changed)
    with pytest.raises(UserError, match=f"{path}: .*: score the run again"):
        run_files.read(str(run), None, None)


def call(*arguments):
    return cli.run(report_main.main, ["report", "html", *map(str, arguments)])


def test_page_of_two_runs(run, tmp_path, capsys):
    other, output = write_run(tmp_path / "second", wrong=(1, 2)), tmp_path / "a.html"
    assert call(run, other, "--output", output) == 0
    assert f"first, second: {output} (" in capsys.readouterr().out
    text = output.read_text()
    assert "http" not in re.sub(r"data:[^\"]*", "", text)
    rows = re.findall(r"<tr>(.*?)</tr>", text, re.DOTALL)
    cells = [re.sub("<[^>]*>", " ", row).split() for row in rows]
    assert ["mean", "IoU,", "%", "25.0", "25.0"] in cells
    # Of class 0 and predicted as class 2; no other pair is confused.
    names = text.split("label</th>")[1].split("<td>")[1:4]
    assert [x.split("<")[0] for x in names] == ["ground", "tree", "1.9"]
    assert "&lt;b&gt;" in text and "<b>" not in text
    assert "scene8, " in text and "eval.py --workdir here" in text and "9.8.7" in text
    (csv,) = re.findall(r'first-rows.csv" href="data:text/csv;base64,([^"]+)', text)
    lines = base64.b64decode(csv).decode().splitlines()
    first = [float(x) for x in lines[1].split(",")[1:]]
    assert len(lines) == 14 and sum(first) == pytest.approx(1, abs=1e-4)
    # Wrong pixels, of each image those of class 0: 3 + 0 + 9 + ... of 9 x 299.
    assert first[2] == pytest.approx((3 + 9 + 1 + 5 + 7 + 2 + 11 + 13) / 2691, rel=1e-4)


def test_runs_with_the_same_name_are_shown_by_path(run, tmp_path, capsys, monkeypatch):
    (tmp_path / "b").mkdir()
    other = write_run(tmp_path / "b" / "first", wrong=(1, 2))
    report = json.loads((other / "report.json").read_text())
    report["val/single/mean_iou"] = 0.5
    (other / "report.json").write_text(json.dumps(report))
    assert call(run, other, "--output", tmp_path / "a.html") == 0
    assert f"{run}, {other}: " in capsys.readouterr().out
    text = (tmp_path / "a.html").read_text()
    assert "<td>mean IoU, %</td><td>25.0</td><td>50.0</td>" in text
    monkeypatch.chdir(run)
    assert run_files.read(".", None, None).name == "."


def test_a_page_too_large_shows_fewer_images(run, monkeypatch):
    found = run_files.read(str(run), None, None)
    whole = html.make([found])
    assert whole.count("errors in red") == 16
    monkeypatch.setattr(html, "LARGEST_BYTES", len(whole.encode()) - 1)
    assert html.make([found]).count("errors in red") == 12
    monkeypatch.setattr(html, "LARGEST_BYTES", 1000)
    with pytest.raises(
        UserError, match="the page of 1 runs has more than 1000 bytes: give fewer"
    ):
        html.make([found])


def test_missing_scores_are_reported_in_one_line(run, tmp_path, capsys):
    assert call(tmp_path) == 2
    message = "has no reports; expected a report of split (any) with protocol (any)"
    assert message in capsys.readouterr().err
    assert call(run, "--protocol=release") == 2
    assert "of split (any) with protocol release" in capsys.readouterr().err
    next(run.glob("images-*")).unlink()
    assert call(run) == 2
    message = "images-val-single-0.npz (per-image scores) is missing"
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_a_browser_renders_the_page(run, tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("chromium is not installed")
    assert call(run, "--output", tmp_path / "a.html") == 0
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr")
    size = "--window-size=1200,2400"
    shot, page = tmp_path / "a.png", (tmp_path / "a.html").as_uri()
    done = subprocess.run(
        [browser, *flags, size, f"--screenshot={shot}", page],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0 and "CONSOLE" not in done.stderr, done.stderr
    with Image.open(shot) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert pixels.shape == (2400, 1200, 3) and (pixels < 100).mean() > 0.01
    dumped = subprocess.run(
        [browser, *flags, "--dump-dom", page],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "scene8" in dumped.stdout and "Confusion: first" in dumped.stdout


def test_page_shows_quality_presence_and_differences(run, tmp_path):
    presence = np.zeros(NUM_CLASSES, np.float32)
    presence[[0, 3]] = 0.9, 0.7
    other = write_run(tmp_path / "second", wrong=(0,) * 9, presence=presence)
    points = {"confidence": [None, 0.5], "accuracy": [None, 0.4], "pixels": [0, 9]}
    quality = {
        "bands": {"1": 0.2, "2": 0.4},
        "reliability": points,
        "risk_coverage": {"kept": [0.5, 1.0], "accuracy": [1.0, 0.8]},
    }
    edit_report(other, quality=quality, num_params=1234)
    assert call(run, other, "--output", tmp_path / "page.html") == 0
    text = (tmp_path / "page.html").read_text()
    # The second run makes none of the first one's mistakes.
    row = text.split("<th>interval</th>")[1].split("</tr>")[1]
    difference, interval = re.findall(r"<td>([^<]*)</td>", row)[1:]
    assert float(difference) > 0
    assert float(interval.split(" to ")[0]) <= float(difference)
    assert "Boundaries, calibration, single images" in text and "1234" in text
    names = run_files.read(str(run), None, None).class_names
    assert f"<b>{names[0]} 90 %</b>" in text
    assert f", {names[3]} 70 %" in text


def test_differences_need_the_same_images_in_any_order(run, tmp_path):
    first = run_files.read(str(run), None, None)
    second = run_files.read(
        str(write_run(tmp_path / "second", wrong=(0,) * 9)), None, None
    )

    def difference(images):
        other = dataclasses.replace(
            second, ids=second.ids[images], counts=second.counts[images]
        )
        row = html.make([first, other]).split("<th>interval</th>")[1]
        return re.findall(r"<td>([^<]*)</td>", row.split("</tr>")[1])

    given = difference(np.arange(9))
    assert given[0] == "second" and float(given[1]) > 0
    assert difference(np.arange(9)[::-1]) == given
    assert difference(np.arange(8)) == ["second", "-", "scored on other images"]


CURVE = {"confidence": [0.5, None], "accuracy": [0.25, None]}
QUALITY = {
    "bands": {"1": 0.5, "3": None},
    "reliability": CURVE,
    "risk_coverage": {"kept": [0.5, 1.0], "accuracy": [1.0, 0.5]},
}


@pytest.mark.parametrize(
    "quality, says",
    [
        (3, "quality is 3; expected an object"),
        ({}, "quality.bands is missing"),
        (QUALITY | {"bands": {"x": 1}}, "quality.bands does not have widths"),
        (QUALITY | {"bands": {"1": 10**400}}, "quality.bands has '1'"),
        (QUALITY | {"reliability": CURVE | {"accuracy": []}}, "different lengths"),
        (QUALITY | {"reliability": CURVE | {"accuracy": "x"}}, "accuracy is 'x'"),
        (QUALITY | {"risk_coverage": {"kept": []}}, "accuracy is missing"),
    ],
)
def test_a_damaged_plot_of_a_report_is_refused(quality, says, run):
    file = run / "report.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"quality": quality}))
    with pytest.raises(UserError, match=f"report.json is not a report .*{says}"):
        run_files.read(str(run), None, None)


def test_undefined_points_of_a_report_are_left_out(run):
    file = run / "report.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"quality": QUALITY}))
    figure = quality_plots.draw([run_files.read(str(run), None, None)])
    ticks = [text.get_text() for text in figure.axes[1].get_xticklabels()]
    assert ticks[:3] == ["1", "2", "4"]
    near, reliability = (axes.lines[0].get_xydata() for axes in figure.axes[1:3])
    assert near.tolist()[0] == [1, 50] and reliability.tolist() == [[0.5, 0.25]]
