"""benchmarks.learning: its rows are configurations, its tables are right by hand."""

import ast
import json

import numpy as np
import pytest

from benchmarks import learning, learning_record
from benchmarks.learning_rows import PAIRS, RUNS, SWEEPS
from encnet_jax import config as config_lib


def resolved(row: str):
    """Returns the configuration of a row, as train.py would see it."""
    spec, *flags = RUNS[row]
    config = config_lib.load(spec)
    for flag in flags:
        flag = flag.format(workdir="runs", data_dir="data")
        field, _, text = flag.removeprefix("--config.").partition("=")
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            value = text
        config = config_lib.with_value(config, field, value)
    return config_lib.resolve(config, config_lib.Facts(795))


@pytest.mark.parametrize("row", RUNS)
def test_each_row_is_a_valid_configuration(row):
    config = resolved(row)
    if row.startswith("nyu"):
        train, data = config.train, config.data
        assert (train.total_steps, train.batch_size) == (900, 16)
        assert (data.crop_size, data.input_scale, len(data.folder.class_names)) == (
            192,
            0.5,
            39,
        )
        assert data.folder.images == "data/NYUv2/{split}/images"
        assert config.optim.base_lr == 0.02 and config.eval.protocol == "single"
        backbone = "resnet18" if row.startswith("nyu18") else "tiny"
        assert config.model.backbone == backbone
        source = f"runs/mini-{backbone}-seed0" if row.endswith("-from-mini") else ""
        assert config.init_from == source


def differing(row: str, other: str) -> set[str]:
    one, two = (config_lib.flatten(resolved(name)) for name in (row, other))
    return {field for field in one if one[field] != two[field]}


def test_rows_that_are_compared_differ_only_in_the_network():
    encnet = "nyu-encnet-from-mini"
    assert differing(encnet, "nyu-fcn-from-mini") == {"model.name", "model.aux"}
    assert differing(encnet, "nyu-encnet-no-se-from-mini") == {"model.se_loss"}
    assert differing(encnet, "nyu-encnet") == {"init_from"}
    for row, baseline in PAIRS:
        allowed = ("model.", "loss.", "init_from")
        assert all(field.startswith(allowed) for field in differing(row, baseline))


def test_swept_rows_differ_only_in_their_field():
    for field, rows in SWEEPS.values():
        default = rows[{"loss.se_weight": 0.2, "model.num_codes": 32}[field]]
        for value, row in rows.items():
            if row.endswith("encnet-no-se-from-mini"):  # Same as a weight of 0.
                assert value == 0.0 and not resolved(row).model.se_loss
                continue
            assert config_lib.get(resolved(row), field) == value
            assert differing(row, default) <= {field}
    assert [len(rows) for _, rows in SWEEPS.values()] == [5, 5, 5, 5]


def test_small_images_are_scored_whole():
    for row, stem in (("mini-tiny", 8), ("mini-resnet18", 32)):
        config = resolved(row)
        assert config.data.crop_size == config.data.augment.base_size == 64
        assert (config.train.total_steps, config.train.batch_size) == (3000, 128)
        assert config.model.stem_width == stem
        assert config.data.folder.images == "data/mini_imagenet/{split}"


def test_pixels_of_absent_classes_are_counted(tmp_path):
    # Right, labelled and predicted pixels of two images and three classes.
    counts = [[[3, 1, 0], [4, 4, 0], [3, 3, 2]], [[0, 0, 1], [0, 0, 2], [1, 0, 1]]]
    np.savez(tmp_path / "x.npz", counts=counts, ids=["a", "b"])
    assert learning.absent_classes(tmp_path / "x.npz") == 3 / 10


def test_images_are_sorted_by_pixels_of_absent_classes(tmp_path):
    # Two images of ten pixels of class 'bed'; the columns are bed, bag and box.
    predicted = {
        "nyu-encnet": [[9, 0, 1], [5, 4, 1]],
        "nyu-fcn": [[7, 2, 1], [10, 0, 0]],
    }
    for row, rows in predicted.items():
        counts = [[[each[0], 0, 0], [10, 0, 0], each] for each in rows]
        folder = tmp_path / f"{row}-seed0"
        folder.mkdir()
        file = folder / "images-val-single-0.npz"
        np.savez(file, counts=counts, ids=["a", "b"])
        iou = {"iou": dict.fromkeys(("bed", "bag", "box"), 0.5)}
        (folder / "report.json").write_text(json.dumps(iou))
    reports = learning.finished(tmp_path)
    assert reports["nyu-encnet"][0]["val/single/absent_classes"] == 6 / 20
    lines = learning.image_table(tmp_path, reports, ROW, BASELINE, number=1)
    assert lines.splitlines()[2:] == [
        "| a | 10.0 | 30.0 | box | bag |",
        "| b | 50.0 | 0.0 | bag |  |",
    ]


def report(iou, small=None, **classes):
    found = {"val/single/mean_iou": iou, "val/single/pixel_accuracy": iou + 0.25}
    if small is not None:
        found["val/single/mean_iou_small"] = small
    precision = {"presence_ap_classes": {"bed": 0.5, "bag": iou}}
    found["val/single/presence_ap"] = iou
    return found | {"iou": classes, "quality": precision}


ROW, BASELINE = "nyu-encnet", "nyu-fcn"
REPORTS = {
    ROW: {
        0: report(0.125, 0.0625, bed=0.25, bag=0.0, box=None),
        1: report(0.25, 0.125, bed=0.5, bag=0.0, box=None),
        2: report(0.5, bed=1.0, bag=0.0, box=None),
    },
    BASELINE: {
        0: report(0.0625, 0.03125, bed=0.125, bag=0.25, box=None),
        1: report(0.125, 0.0625, bed=0.25, bag=0.25, box=None),
    },
}


def test_differences_are_paired_by_seed():
    # Seeds 0 and 1: 6.25 and 12.5 points; standard deviation 6.25 / sqrt(2).
    assert learning.difference([6.25, 12.5]) == "9.38 ± 3.12"
    assert learning.difference([2.0]) == "2.00"
    line = learning.pair_table(REPORTS).splitlines()[2]
    assert line == (
        "| nyu-encnet - nyu-fcn | 0, 1 | 6.25, 12.50 | 9.38 ± 3.12 | 9.38 ± 3.12"
        " | 4.69 ± 1.56 |  |"
    )
    assert len(learning.pair_table(REPORTS).splitlines()) == 3  # No other pair.


def test_gains_of_single_classes_are_sorted():
    lines = learning.class_table(REPORTS, ROW, BASELINE).splitlines()[2:]
    assert lines == [
        "| bed | 37.5 | 18.8 | 18.75 ± 6.25 | 50.0 |",
        "| bag | 0.0 | 25.0 | -25.00 ± 0.00 | 18.8 |",
        "",
        "rank correlation of difference and presence: 1.00",
    ]
    with pytest.raises(SystemExit, match="nyu-pspnet have no finished seed in common"):
        learning.class_table(REPORTS, ROW, "nyu-pspnet")


def test_a_plot_has_the_seeds_that_all_rows_share(tmp_path, monkeypatch):
    reports = {
        "scenes-se-0.0": {0: report(0.5), 1: report(0.1)},
        "scenes-encnet": {0: report(0.7), 2: report(0.9)},
    }
    drawn = []
    monkeypatch.setattr(
        learning.sweep, "plot", lambda *arguments: drawn.append(arguments)
    )
    line = learning.plot_sweep(reports, "scenes", tmp_path)
    assert line == f"plot of seeds 0: {tmp_path / 'se_weight-scenes.png'}"
    [(_, field, rows)] = drawn
    assert field == "loss.se_weight"
    assert [(row["value"], row["mean_iou"]) for row in rows] == [(0.0, 0.5), (0.2, 0.7)]
    del reports["scenes-encnet"][0]
    for others in (reports, {}):
        line = learning.plot_sweep(others, "scenes", tmp_path)
        assert line.startswith("no plot: scenes-se-0.0, scenes-se-0.1, ")
    assert len(drawn) == 1


def test_the_first_table_has_every_seed(tmp_path):
    for seed, found in REPORTS[ROW].items():
        folder = tmp_path / f"{ROW}-seed{seed}"
        folder.mkdir()
        (folder / "report.json").write_text(json.dumps(found))
    (tmp_path / "cifar-tiny-seed10").mkdir()
    classifier = {"test/single/top1": 0.5}
    (tmp_path / "cifar-tiny-seed10/report.json").write_text(json.dumps(classifier))
    reports = learning.finished(tmp_path)
    assert reports["cifar-tiny"] == {10: classifier}
    lines = learning.table(reports).splitlines()
    assert lines[2:] == [
        "| nyu-encnet | 3 | 12.5, 25.0, 50.0 | 29.2 | 19.1 | 54.2 | 29.2 |  |",
    ]


def test_recorded_runs_count_until_they_are_repeated(tmp_path):
    path = tmp_path / "results.json"
    assert learning_record.read(path) == {}
    full = report(1 / 3, 0.25, bed=2 / 3, box=None) | {"commit": "abc", "model": "x"}
    learning_record.write({ROW: {0: full, 2: full}, BASELINE: {0: full}}, path)
    recorded = learning_record.read(path)
    assert recorded[ROW][2] == {
        "val/single/mean_iou": 0.333333,
        "val/single/mean_iou_small": 0.25,
        "val/single/pixel_accuracy": 0.583333,
        "val/single/presence_ap": 0.333333,
        "commit": "abc",
        "iou": {"bed": 0.666667, "box": None},
        "quality": {"presence_ap_classes": {"bed": 0.5, "bag": 0.333333}},
    }
    again = learning_record.merged(recorded, {ROW: {1: full, 2: report(0.5)}})
    assert list(again[ROW]) == [0, 1, 2]
    assert again[ROW][2] == report(0.5) and again[ROW][0] == recorded[ROW][0]
    assert again[BASELINE] == recorded[BASELINE]
    text = learning.image_table(tmp_path, {}, ROW, BASELINE)
    both = f"{ROW} and {BASELINE}"
    assert text == f"no images: {tmp_path} has no finished seed of both {both}"
