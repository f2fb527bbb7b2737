"""Command lines: what --help shows, and what a missing flag is told."""

import importlib
import pathlib
import subprocess
import sys

import pytest

from encnet_jax import cli

PROJECT = pathlib.Path(__file__).parent.parent
EXAMPLES = {
    "train.py": "--config configs/",
    "eval.py": "--workdir runs/",
    "predict.py": "--workdir runs/",
    "-m encnet_jax.sweep": "--config configs/",
    "-m encnet_jax.plan": "--config configs/",
    "-m encnet_jax.data.check": "--config configs/",
    "-m encnet_jax.data.prepare": "camvid --source ",
    "-m encnet_jax.data.export_images": "--config configs/",
    "-m encnet_jax.data.export_arrays": "camvid --data_dir ",
    "-m encnet_jax.report compare": "runs/",
    "-m encnet_jax.report curves": "runs/",
}


def run(name, capsys, *flags):
    """Runs a command as `python -m` or `python FILE.py` would; returns what it says."""
    module = importlib.import_module(name)
    if not hasattr(module, "main"):  # A folder that `python -m` runs.
        module = importlib.import_module(f"{name}.__main__")
    file = module.__file__ if "." in name else f"{name}.py"
    try:
        status = cli.run(module.main, [file, *flags])
    except SystemExit as end:
        status = end.code
    return status, capsys.readouterr()


@pytest.mark.parametrize("called", EXAMPLES)
def test_help_shows_how_to_call_it(called, capsys):
    name = called.removeprefix("-m ").removesuffix(".py").replace("report ", "report.")
    status, said = run(name, capsys, "--help")
    assert status == 0
    assert said.out.startswith(f"usage: python {called} [")
    assert f"\npython {called} {EXAMPLES[called]}" in said.out.replace("    ", "")
    assert str(PROJECT) not in said.out and "flagfile" not in said.out


def test_help_of_torch_weights(capsys):
    name = "encnet_jax.torch_weights.__main__"
    for command, flag in (("import", "--source: "), ("export", "--output: ")):
        status, said = run(name, capsys, command, "--help")
        usage = f"usage: python -m encnet_jax.torch_weights {command} [flags]"
        assert status == 0 and said.out.splitlines()[0] == usage
        assert f"torch_weights {command} --" in said.out and flag in said.out


def test_defaults_are_shown_and_fields_are_not(capsys):
    flags = ["--config", "configs/camvid.py", "--config.seed=1", "--help"]
    _, said = run("encnet_jax.data.export_images", capsys, *flags)
    assert "--count: How many. Default: 6." in said.out
    assert "--config.seed" not in said.out


def test_preparing_lists_the_data_sets(capsys):
    _, said = run("encnet_jax.data.prepare", capsys, "--help")
    listed = " ".join(said.out.split())
    assert "one of ade20k, camvid, cityscapes, coco_voc, pascal_context" in listed


@pytest.mark.parametrize(
    ("name", "flags", "missing"),
    [
        ("predict", (), "--workdir, --input, --output"),
        ("predict", ("--input=x",), "--workdir, --output"),
        ("eval", ("--workdir=",), "--workdir"),
        ("encnet_jax.sweep", ("--values=1",), "--config, --field, --workdir"),
        ("encnet_jax.plan", (), "--config, --topology"),
        ("encnet_jax.data.export_images", (), "--config, --output"),
    ],
)
def test_all_missing_flags_are_named_at_once(name, flags, missing, capsys):
    status, said = run(name, capsys, *flags)
    assert status == 2
    assert said.err == f"error: missing: {missing}; --help shows an example\n"


def test_python_is_told_the_same_name():
    command = [sys.executable, "-m", "encnet_jax.data.export_images", "--help"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    usage = "usage: python -m encnet_jax.data.export_images [flags]"
    assert done.stdout.splitlines()[0] == usage, done.stderr
