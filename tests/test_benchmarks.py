"""Benchmarks at small sizes: what they print follows from what they measure."""

import importlib
import json
import os

import pytest

from benchmarks import measure
from encnet_jax.models.by_platform import SWITCH


def test_ratios_are_taken_round_by_round():
    rows = measure.summarise({"a": [1.0, 2.0, 9.0], "b": [2.0, 1.0, 3.0]}, "b")
    assert rows["a"] == {
        "seconds": 2.0,
        "ratio": 2.0,
        "ratio_low": 0.5,
        "ratio_high": 3.0,
    }


def test_candidates_are_timed_alternately():
    calls = []
    candidates = {name: lambda name=name: calls.append(name) for name in "ab"}
    seconds = measure.alternate(candidates, repeats=2)
    assert calls == list("ababab")  # One round warms up.
    assert {name: len(each) for name, each in seconds.items()} == {"a": 2, "b": 2}


def run(name, monkeypatch, capsys, **flags) -> dict:
    """Returns the JSON line of a benchmark."""
    module = importlib.import_module(f"benchmarks.{name}")
    argv = [name, *(f"--{flag}={value}" for flag, value in flags.items())]
    monkeypatch.setattr("sys.argv", argv)
    # Some commands set the switch; the former value is restored after the test.
    monkeypatch.setenv(SWITCH, os.environ.get(SWITCH, "1"))
    module.main()
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def taps(size: int, rate: int = 1, stride: int = 1) -> int:
    """Counts the products of a 3x3 kernel that lie inside a size x size map."""
    inside = [
        0 <= center + offset < size
        for center in range(0, size, stride)
        for offset in (-rate, 0, rate)
    ]
    return sum(inside) ** 2


# Multiplications of FCN on ResNet-18 for one image of 64x64 pixels at output stride 8.
FCN_64 = (
    taps(64, stride=2) * 3 * 64 + taps(32) * (64 * 64 + 64 * 128)  # Stem.
    + taps(16) * (128 * 64 + 3 * 64 * 64)  # Stage 1.
    + taps(16, stride=2) * 64 * 128 + taps(8) * 3 * 128 * 128  # Stage 2.
    + taps(8) * 128 * 256 + taps(8, 2) * 3 * 256 * 256  # Stage 3.
    + taps(8, 2) * 256 * 512 + taps(8, 4) * 3 * 512 * 512  # Stage 4.
    + 16 * 16 * 128 * 64 + 8 * 8 * (64 * 128 + 128 * 256 + 256 * 512)  # Shortcuts.
    + taps(8) * 512 * 512 + 8 * 8 * 512 * 150  # Head.
)  # fmt: skip


def test_the_flops_of_fcn_equal_a_count_by_hand(monkeypatch, capsys):
    rows = run("flops", monkeypatch, capsys, backbone="resnet18", size=64)
    # The rest, a fifth of a percent, are batch norms and activations.
    assert rows["fcn"]["GFLOP"] == pytest.approx(2 * FCN_64 / 1e9, rel=0.005)
    assert rows["versions"]["jax"] and rows["settings"]["size"] == 64


def test_flops_are_compared_with_fcn(monkeypatch, capsys):
    flops = importlib.import_module("benchmarks.flops")
    gflop = {"fcn": 40.0, "encnet": 42.0}
    monkeypatch.setattr(
        flops, "cost", lambda name, args: {"GFLOP": gflop.get(name, 30.0)}
    )
    rows = run("flops", monkeypatch, capsys)
    assert rows["fcn"]["over FCN %"] == 0
    assert rows["encnet"]["over FCN %"] == pytest.approx(5.0)
    assert rows["pspnet"]["over FCN %"] == pytest.approx(-25.0)


def test_a_second_synchronisation_doubles_the_collectives(monkeypatch, capsys):
    rows = run("syncbn", monkeypatch, capsys, model="fcn", backbone="tiny")
    one, two = rows["as trained"], rows["two synchronisations"]
    norms = one["batch norms"]
    assert one["all_reduce"] == 2 * norms + one["beyond 2/norm"]
    # One more in each direction.
    assert two["all_reduce"] - one["all_reduce"] == 2 * norms
    # Each carries half as much; the time is that of their number.
    assert two["small, kB"] == pytest.approx(one["small, kB"], rel=0.05)
    ratio = two["v5e:64, modelled ms"] / one["v5e:64, modelled ms"]
    assert 1.8 < ratio < 2


def test_the_plain_loss_uses_more_memory(monkeypatch, capsys):
    sizes = {"batch": 1, "size": 128, "classes": 20, "repeats": 1}
    rows = run("loss_memory", monkeypatch, capsys, **sizes)
    assert rows["plain"]["temporary MiB"] > 2 * rows["fused"]["temporary MiB"]


def test_three_encoding_layers_give_one_value(monkeypatch, capsys):
    pytest.importorskip("torch", reason="PyTorch is an extra: requirements/torch.txt")
    sizes = {"batch": 1, "positions": 50, "channels": 8, "codes": 3, "repeats": 1}
    rows = run("encoding_layer", monkeypatch, capsys, **sizes)
    values = [rows[name]["value"] for name in ("naive", "torch naive")]
    assert values == pytest.approx([rows["ours"]["value"]] * 2, rel=1e-5)


def test_both_networks_of_a_pair_have_the_same_initial_weights(monkeypatch, capsys):
    pytest.importorskip("torch", reason="PyTorch is an extra: requirements/torch.txt")
    sizes = {"backbone": "resnet18", "size": 32, "classes": 5, "repeats": 1}
    monkeypatch.setattr("torch.compile", lambda function: function)
    rows = run("inference", monkeypatch, capsys, **sizes)
    assert rows["settings"]["agreement"] == 1


def test_faults_report_goodput_and_recovery(tmp_path):
    from benchmarks import faults
    from encnet_jax.train import starts
    from encnet_jax.train.account import PARTS

    def start(from_step, to_step, lost_s, **seconds):
        seconds = {name.replace("_", "-"): x for name, x in seconds.items()}
        return starts.Start(
            from_step, to_step, dict.fromkeys(PARTS, 0.0) | seconds, lost_s
        )

    quiet, shot = tmp_path / "quiet", tmp_path / "shot"
    for folder in (quiet, shot):
        folder.mkdir()
    starts.write(str(quiet), [start(0, 100, 0.0, steps=30.0, start_up=10.0)])
    several = [
        start(0, 50, 0.0, steps=15.0, start_up=10.0),
        start(40, 40, 3.0, start_up=6.0),  # Killed before its first step.
        start(40, 70, 3.0, steps=9.0, start_up=6.0, compiling=1.0),
        start(70, 100, 0.0, steps=9.0, start_up=8.0, compiling=2.0),
    ]
    starts.write(str(shot), several)
    line = faults.describe_time(quiet, shot, wall_s=80.0)
    # 15 + 9 + 9 s of steps, of which 3 + 3 lost; 6 + 1 + 3 and 8 + 2 s to recover.
    assert line.startswith("goodput 33.8 % of 80 s (quiet: 75.0 %)")
    assert line.endswith("to recover 10.0 s (10.0-10.0), 2 starts")
