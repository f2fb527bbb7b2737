"""Sweeps and comparisons: runs are made once, tables and pictures come out."""

import dataclasses
import pathlib
import types

import numpy as np
import pytest
from PIL import Image

from encnet_jax import config as config_lib
from encnet_jax import sweep, tasks
from encnet_jax.errors import UserError
from encnet_jax.evaluate import tables
from encnet_jax.pods import workdir as workdir_lib
from encnet_jax.report import compare


@pytest.fixture
def trained(monkeypatch):
    """Replaces training and scoring; returns the list of (workdir, value) trained."""
    done, seeds = [], []

    def train(config, workdir):
        done.append((workdir, config.loss.se_weight))
        seeds.append(config.seed)
        pathlib.Path(workdir).mkdir(parents=True, exist_ok=True)
        workdir_lib.save_config(
            workdir, config_lib.resolve(config, config_lib.Facts(400))
        )

    def evaluate_run(workdir, selection):
        protocol = selection.protocol
        score = 0.4 + done[-1][1] + 0.01 * seeds[-1]
        report = {
            "val/single/mean_iou": score,
            "val/single/pixel_accuracy": score + 0.1,
            "step": 4,
            "protocol": {"name": protocol},
            "split": "val",
            "images": 1,
            **dict.fromkeys(("rule", "data", "model", "devices", "commit"), ""),
        }
        file = tables.report_name("val", protocol)
        tables.save_report(pathlib.Path(workdir) / file, report)
        return report

    monkeypatch.setattr(sweep.loop, "train", train)
    monkeypatch.setattr(sweep.run_lib, "evaluate_run", evaluate_run)
    monkeypatch.setattr(sweep.read, "find_step", lambda workdir: 4)
    return done


def test_runs_with_counted_class_weights_are_not_repeated(
    trained, tmp_path, monkeypatch, capsys
):
    config = smoke()
    config.loss.class_weighting = "median_frequency"
    classes = tasks.open_dataset(config).info.num_classes
    weights = tuple(range(1, classes + 1))
    save_config = workdir_lib.save_config

    def save(workdir, resolved):
        loss = dataclasses.replace(resolved.loss, class_weights=weights)
        save_config(workdir, dataclasses.replace(resolved, loss=loss))

    monkeypatch.setattr(workdir_lib, "save_config", save)
    for _ in range(2):
        assert sweep.run(config, "loss.se_weight", [0.1], str(tmp_path), None)
    assert [value for _, value in trained] == [0.1]
    assert "already done" in capsys.readouterr().out


def smoke():
    return config_lib.load("configs/quickstart.py:smoke")


def lines_of_table(folder):
    mark, *lines = (folder / "sweep.md").read_text().splitlines()
    assert mark == "<!-- written by encnet_jax -->"
    return lines


def test_sweep_runs_each_value_once(trained, tmp_path, capsys):
    arguments = (smoke(), "loss.se_weight", [0, 0.1], str(tmp_path), None)
    assert sweep.run(*arguments)
    assert [value for _, value in trained] == [0.0, 0.1]
    table = lines_of_table(tmp_path)
    assert table[0] == "| loss.se_weight | mean_iou % | pixel_accuracy % |"
    assert table[2:] == ["| 0 | 40.00 | 50.00 |", "| 0.1 | 50.00 | 60.00 |"]
    with Image.open(tmp_path / "sweep.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    # More than the label and the legend in orange: the line, which hides the blue one.
    assert np.sum(np.all(pixels == (255, 127, 14), axis=1)) > 1500
    # A longer sweep goes on from there; another protocol is scored again.
    assert sweep.run(smoke(), "loss.se_weight", [0, 0.1, 0.2], str(tmp_path), None)
    assert [value for _, value in trained] == [0.0, 0.1, 0.2]
    assert "already done" in capsys.readouterr().out
    other = smoke()
    other.optim.base_lr = 0.3
    with pytest.raises(UserError, match="optim.base_lr was 0.05 and is now 0.3"):
        sweep.run(other, "loss.se_weight", [0, 0.1], str(tmp_path), None)


def test_a_stopped_run_ends_the_sweep(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(sweep.read, "find_step", lambda workdir: 3)
    assert not sweep.run(smoke(), "loss.se_weight", [0, 0.1], str(tmp_path), None)
    assert len(trained) == 1 and not (tmp_path / "sweep.md").exists()


def test_scores_of_classification_are_drawn(tmp_path):
    sweep.save(tmp_path, "optim.base_lr", [{"value": 0.1, "error": 0.25, "spread": {}}])
    table = lines_of_table(tmp_path)
    assert (table[0], table[2]) == ("| optim.base_lr | error % |", "| 0.1 | 25.00 |")
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["sweep.json", "sweep.md", "sweep.png"]


def test_each_value_is_trained_with_each_seed(trained, tmp_path):
    arguments = (smoke(), "loss.se_weight", [0, 0.1], str(tmp_path), None, (0, 1, 2))
    assert sweep.run(*arguments)
    names = [pathlib.Path(workdir).name for workdir, _ in trained]
    assert names[:2] == ["loss.se_weight=0-seed0", "loss.se_weight=0-seed1"]
    assert len(names) == 6
    rows = lines_of_table(tmp_path)[2:]
    # Scores of 40, 41 and 42 %: mean 41, standard deviation 1.
    assert rows[0] == "| 0 | 41.00 ± 1.00 | 51.00 ± 1.00 |"


def test_a_wrong_value_is_reported_before_the_first_run(trained, tmp_path):
    with pytest.raises(UserError, match="base_lr (is|cannot be set to) .fast."):
        sweep.run(smoke(), "optim.base_lr", [0.1, "fast"], str(tmp_path), None)
    with pytest.raises(UserError, match="model.output_stride (is|cannot be set to) 7"):
        sweep.run(smoke(), "model.output_stride", [8, 7], str(tmp_path), None)
    assert not trained and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("field", "value", "protocol", "says"),
    [
        ("data.name", "camvid", None, "camvid is not"),
        ("data.val_split", "", None, "every run of a sweep is evaluated"),
        ("data.val_split", "nosuch", None, "nosuch"),
        ("optim.base_lr", 0.2, "nosuch", "--protocol is 'nosuch'"),
        ("train.batch_size", 10**9, None, "batch_size"),
        ("seed", -1, None, "seed is -1"),
    ],
)
def test_errors_of_later_runs_are_reported_before_the_first_run(
    field, value, protocol, says, trained, tmp_path
):
    first = config_lib.get(smoke(), field)
    with pytest.raises(UserError, match=says):
        sweep.run(smoke(), field, [first, value], str(tmp_path), protocol)
    assert not trained and not list(tmp_path.iterdir())


def test_files_of_the_user_are_not_replaced(trained, tmp_path):
    (tmp_path / "sweep.md").write_text("| my | notes |")
    with pytest.raises(UserError, match="sweep.md exists"):
        sweep.run(smoke(), "loss.se_weight", [0], str(tmp_path), None)
    assert not trained


@pytest.mark.parametrize(
    "text",
    [
        "/../../x",
        "a/b",
        "x" * 101,
        "a\nb",
        "a\\b",
        "é" * 60,
        "\udcff",
        "-" * 9000 + "1",
    ],
)
def test_values_that_cannot_name_a_folder_are_refused(text):
    with pytest.raises(UserError, match="each value becomes part of a folder name"):
        sweep.parse_values(f"0,{text}")


@pytest.mark.parametrize("text", ["0,00", "²", "1,x", "-1", "1.0"])
def test_repeated_and_invalid_seeds_are_refused(text):
    with pytest.raises(UserError, match="distinct whole numbers"):
        sweep.parse_seeds(text)


def test_a_vertical_bar_in_a_value_adds_no_column():
    rows = [{"value": "a|b", "error": 0.25, "spread": {}}]
    assert sweep.table("f", rows).splitlines()[2] == "| a\\|b | 25.00 |"


def test_values_are_parsed():
    assert sweep.parse_values("0, 0.5,True,deep") == [0, 0.5, True, "deep"]
    for text in ("", "0.1,0.1"):
        with pytest.raises(UserError, match="expected distinct values"):
            sweep.parse_values(text)
    assert sweep.parse_seeds("0, 2") == (0, 2) and sweep.parse_seeds("") == ()
    for text in ("a", "1,1", "-1"):
        with pytest.raises(UserError, match="expected distinct whole numbers"):
            sweep.parse_seeds(text)


def test_unknown_fields_and_wrong_values_are_reported():
    with pytest.raises(UserError, match="no field 'loss.alpha' in the configuration"):
        config_lib.with_value(smoke(), "loss.alpha", 0.1)
    with pytest.raises(
        UserError, match="model.num_codes cannot be set to 'many'.* 0 to"
    ):
        config_lib.with_value(smoke(), "model.num_codes", "many")
    assert config_lib.with_value(smoke(), "loss.se_weight", 0).loss.se_weight == 0.0


def example(name):
    label = np.zeros((20, 30), np.uint8)
    label[5:] = 1
    return {"image": np.full((20, 30, 3), 90, np.uint8), "label": label, "id": name}


def test_examples_are_chosen_by_name():
    names = ["a", "b", "c"]
    dataset = types.SimpleNamespace(
        eval_examples=lambda split: map(example, names),
        spread_examples=lambda split, number: map(example, names[:number]),
    )
    chosen = compare.choose_examples(dataset, "val", ["c", "a"], 1)
    assert [e["id"] for e in chosen] == ["c", "a"]
    assert [e["id"] for e in compare.choose_examples(dataset, "val", [], 2)] == [
        "a",
        "b",
    ]
    with pytest.raises(UserError, match="--ids: the split 'val' has no image 'x'"):
        compare.choose_examples(dataset, "val", ["x"], 1)


def test_comparison_draws_every_panel(tmp_path):
    info = types.SimpleNamespace(
        class_names=("sand", "earth"),
        colours=np.array([[250, 220, 120], [140, 90, 40]], np.uint8),
    )
    examples = [example("a"), example("b")]
    found = [{"a": 1 - e["label"], "b": e["label"]} for e in examples]
    output = tmp_path / "figures" / "compare.png"
    compare.draw(info, examples, ["FCN", "EncNet"], found, str(output))
    with Image.open(output) as picture:
        colours = {c for _, c in picture.convert("RGB").getcolors(10**6)}
    assert {(250, 220, 120), (140, 90, 40), (90, 90, 90)} <= colours
    assert [p.name for p in output.parent.iterdir()] == ["compare.png"]
