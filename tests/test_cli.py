"""Command lines: what --help shows, a missing flag gets, and the console has."""

import importlib
import pathlib
import re
import subprocess
import sys

import pytest

from encnet_jax import cli, commands

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
    name, *words = called.removeprefix("-m ").removesuffix(".py").split()
    status, said = run(name, capsys, *words, "--help")
    assert status == 0
    usage = said.out.splitlines()[0]
    arguments = r"( NAME| RUN\.\.\.)? \[flags\]"
    assert re.fullmatch(f"usage: python {re.escape(called)}{arguments}", usage)
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


def encnet(capsys, *words):
    """Runs the console command; returns its status and what it says."""
    try:
        status = cli.run(commands.main, ["encnet", *words])
    except SystemExit as end:
        status = end.code
    return status, capsys.readouterr()


@pytest.mark.parametrize(
    ("words", "example"),
    [
        ("train", "encnet train --config configs/quickstart.py"),
        ("eval", "encnet eval --workdir runs/camvid"),
        ("data prepare", "encnet data prepare camvid --source"),
        ("report compare", "encnet report compare runs/ade20k-fcn"),
        ("weights export", "encnet weights export --workdir runs/ade20k"),
    ],
)
def test_console_command_shows_itself_in_its_examples(words, example, capsys):
    status, said = encnet(capsys, *words.split(), "--help")
    assert status == 0 and example in said.out and "python" not in said.out
    assert said.out.startswith(f"usage: encnet {words} ")


def test_console_command_lists_its_commands(capsys):
    status, said = encnet(capsys)
    listed = [line.split()[0] for line in said.out.splitlines()[2:-2]]
    assert status == 0 and listed == list(commands.COMMANDS)
    status, said = encnet(capsys, "tain")
    assert status == 2
    assert said.err.startswith(
        "error: unknown command 'tain', expected one of: train, "
    )
    status, said = encnet(capsys, "data", "nothing")
    assert status == 2 and "expected one of: prepare, check" in said.err


def test_preparing_lists_the_data_sets(capsys):
    _, said = run("encnet_jax.data.prepare", capsys, "--help")
    listed = " ".join(said.out.split())
    assert "One of ade20k, camvid, cityscapes, coco_voc, " in listed


@pytest.mark.parametrize(
    ("name", "flags", "missing"),
    [
        ("predict", (), "--input"),
        ("eval", ("--workdir=",), "--workdir"),
        ("encnet_jax.sweep", ("--values=1",), "--config, --field, --workdir"),
        ("encnet_jax.plan", (), "--config, --topology"),
        ("encnet_jax.data.export_images", (), "--config, --output"),
        ("encnet_jax.data.check", (), "--config"),
        ("encnet_jax.data.prepare", (), "NAME"),
        ("encnet_jax.data.export_arrays", ("--data_dir=x",), "NAME"),
        ("encnet_jax.report", ("compare", "--titles=a"), "RUN"),
        ("encnet_jax.report", ("curves",), "RUN"),
    ],
)
def test_all_missing_flags_are_named_at_once(name, flags, missing, capsys):
    status, said = run(name, capsys, *flags)
    assert status == 2
    assert said.err == f"error: missing: {missing}; --help shows an example\n"


def test_python_calls_it_by_the_same_name():
    command = [sys.executable, "-m", "encnet_jax.data.export_images", "--help"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    usage = "usage: python -m encnet_jax.data.export_images [flags]"
    assert done.stdout.splitlines()[0] == usage, done.stderr


@pytest.mark.parametrize(
    "code, reason",
    [
        (b"x = (\n", "line 1: SyntaxError"),
        (b"\x00\x01\x02\n", "null bytes"),
        (b"import nosuch\n", "line 1: ModuleNotFoundError: No module named 'nosuch'"),
        (b"def get_config(words=''):\n    return nosuch\n", "line 2: NameError"),
    ],
)
def test_code_that_python_cannot_run_is_no_configuration(
    code, reason, tmp_path, capsys
):
    (tmp_path / "mine.py").write_bytes(code)
    status, said = run("train", capsys, f"--config={tmp_path / 'mine.py'}")
    assert status == 2 and reason in said.err
    assert said.err.count("\n") == 1 and "expected a Python file" in said.err
