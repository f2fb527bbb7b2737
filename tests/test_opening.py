"""The first lines of a run, and the estimate of its remaining time."""

import numpy as np
import pytest

from encnet_jax import config as config_lib
from encnet_jax.config import defaults
from encnet_jax.train import loop, opening
from encnet_jax.train.account import PARTS
from encnet_jax.train.starts import Start

SIZES = {"images of train": 103, "images of val": 20}


def resolved(**fields):
    config = defaults.get_config()
    config.data.name = "scenes"
    config.train.batch_size = 10
    config.train.epochs = 4.5
    config.update_from_flattened_dict(fields)
    return config_lib.resolve(config, config_lib.Facts(103))


def test_five_lines_describe_the_run():
    found = opening.lines(resolved(), SIZES, 3007, "ImageNet, x, 5 arrays", 0)
    assert found == [
        "devices: 8 x cpu",
        "data: scenes, images: train 103, val 20",
        "network: encnet, resnet50, tuned, 3,007 parameters",
        "weights: ImageNet, x, 5 arrays",
        "length: 45 steps of 10 images (4.5 epochs), 5 evaluations",
    ]
    resumed = opening.lines(resolved(), SIZES, 3007, "step 20 of this run", 20)
    assert resumed[4].endswith("epochs), from step 20, 3 evaluations")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [({"data.val_split": ""}, 0), ({"train.eval_every_epochs": 0.0}, 1)],
)
def test_evaluations_are_counted(fields, expected):
    last = opening.lines(resolved(**fields), SIZES, 1, "", 0)[4]
    assert last.endswith(f", {expected} evaluations")


def test_a_frozen_random_backbone_is_warned_about():
    config = resolved(**{"train.freeze": "backbone"})
    found = opening.lines(config, SIZES, 1, "", 0)
    assert found[3] == "weights: randomly initialised"
    assert found[5].startswith("warning: train.freeze='backbone' freezes randomly")
    assert len(opening.lines(config, SIZES, 1, "x, 5 arrays", 0)) == 5


def test_weights_are_counted_and_named():
    a, b, c = np.zeros(1), np.zeros(2), np.zeros(3)
    before = {"params": {"a": a, "b": b}, "batch_stats": {"c": c}}
    after = {"params": {"a": a.copy(), "b": b}, "batch_stats": {"c": c.copy()}}
    assert opening.weights_line("x.pth", before, after) == (
        "x.pth, 2 arrays; 1 randomly initialised"
    )
    name = "torchvision:resnet50"
    assert opening.weights_line(name, before, after).startswith(f"ImageNet, {name}, 2")
    name = "torchvision:fcn_resnet50"
    assert opening.weights_line(name, before, after).startswith(f"{name}, 2")
    assert opening.weights_line("x.pth", before, before) == "randomly initialised"


LATER = (
    "step 10: 4.44 s per step; about 7 min remain for 35 steps, 4 evaluations included"
)


class Account:
    def __init__(self, **seconds):
        self.values = dict.fromkeys(PARTS, 0.0) | seconds

    def seconds(self):
        return self.values


class Logbook:
    def __init__(self, workdir):
        self.workdir, self.lines = str(workdir), []

    def note(self, line):
        self.lines.append(line)


def test_the_remaining_time_includes_evaluations_once_one_was_measured(tmp_path):
    logbook = Logbook(tmp_path)
    config = resolved(**{"train.log_every_steps": 5})
    account = Account(steps=30.0, input=10.0)
    hook = opening.Remaining(account, logbook, config.train, 0, validates=True)
    for step in range(1, 46):
        account.values["evaluation"] = 60.0 * (step // 10)
        hook(step, None, {})
    # Four of five steps were timed, the first one compiles.
    assert logbook.lines == [
        "step 5: 10 s per step; about 7 min remain for 40 steps, without evaluations",
        # 40 / 9 s for each of 35 steps, 60 s for each of 4 evaluations.
        LATER,
    ]


def test_nothing_remains_after_the_last_step(tmp_path):
    logbook, account = Logbook(tmp_path), Account(steps=30.0, input=10.0)
    train = resolved(**{"train.log_every_steps": 15}).train
    hook = opening.Remaining(account, logbook, train, 0, validates=True)
    hook(45, None, {})
    assert not logbook.lines
    hook(30, None, {})
    assert len(logbook.lines) == 1


def test_earlier_starts_count_for_the_remaining_time(tmp_path):
    hook = opening.Remaining(
        Account(steps=8.0), Logbook(tmp_path), resolved().train, 20, validates=True
    )
    seconds = dict.fromkeys(PARTS, 0.0) | {"steps": 18.0, "evaluation": 10.0}
    hook._earlier = [Start(0, 20, seconds, 0.0)]
    # 26 s for 28 steps, 10 s for three evaluations; steps 40 and 45 remain.
    assert hook.line(30, True) == (
        "step 30: 0.929 s per step; about 21 s remain for 15 steps, 2 evaluations"
        " included"
    )
    # 26 s for 33 steps; no evaluation followed step 35.
    assert hook.line(35, True) == (
        "step 35: 0.788 s per step; about 15 s remain for 10 steps, 2 evaluations"
        " included"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(40, "40 s"), (420, "7 min"), (7500, "2 h 5 min"), (273_600, "3 d 4 h")],
)
def test_durations_are_readable(seconds, text):
    assert opening.duration(seconds) == text


def test_training_prints_the_lines_first(tmp_path, capsys, request):
    spec = f"{request.config.rootpath}/configs/quickstart.py:smoke"
    loop.train(config_lib.load(spec), str(tmp_path / "run"))
    lines = capsys.readouterr().out.splitlines()
    starts = ["devices: 8 x cpu", "data: scenes", "network: encnet, tiny", "weights: "]
    for line, start in zip(lines, [*starts, "length: 4 steps of 8"], strict=False):
        assert line.startswith(start)
    assert lines[3] == "weights: randomly initialised"
