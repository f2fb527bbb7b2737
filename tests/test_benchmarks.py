"""Benchmarks at small sizes: what they print follows from what they measure."""

import importlib
import json

import pytest

from benchmarks import measure


def test_ratios_are_taken_round_by_round():
    rows = measure.summarise({"a": [1.0, 2.0, 9.0], "b": [2.0, 1.0, 3.0]}, "b")
    assert rows["a"] == {
        "seconds": 2.0,
        "ratio": 2.0,
        "ratio_low": 0.5,
        "ratio_high": 3.0,
    }
    assert rows["b"]["ratio"] == 1


def test_candidates_take_turns():
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
    module.main()
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_flops_of_the_heads(monkeypatch, capsys):
    rows = run("flops", monkeypatch, capsys, backbone="resnet18", size=64)
    assert rows["fcn"]["over FCN %"] == 0
    assert rows["encnet"]["GFLOP"] > rows["fcn"]["GFLOP"] > 1
    assert rows["versions"]["jax"] and rows["settings"]["size"] == 64


def test_the_plain_loss_holds_more(monkeypatch, capsys):
    sizes = {"batch": 1, "size": 128, "classes": 20, "repeats": 1}
    rows = run("loss_memory", monkeypatch, capsys, **sizes)
    assert rows["plain"]["temporary MiB"] > 2 * rows["fused"]["temporary MiB"]


def test_three_encoding_layers_give_one_value(monkeypatch, capsys):
    pytest.importorskip("torch", reason="PyTorch is an extra: requirements/torch.txt")
    sizes = {"batch": 1, "positions": 50, "channels": 8, "codes": 3, "repeats": 1}
    rows = run("encoding_layer", monkeypatch, capsys, **sizes)
    values = [rows[name]["value"] for name in ("naive", "torch naive")]
    assert values == pytest.approx([rows["ours"]["value"]] * 2, rel=1e-5)


def test_both_networks_of_a_pair_start_alike(monkeypatch, capsys):
    pytest.importorskip("torch", reason="PyTorch is an extra: requirements/torch.txt")
    sizes = {"backbone": "resnet18", "size": 32, "classes": 5, "repeats": 1}
    monkeypatch.setattr("torch.compile", lambda function: function)
    rows = run("inference", monkeypatch, capsys, **sizes)
    assert rows["settings"]["agreement"] == 1
