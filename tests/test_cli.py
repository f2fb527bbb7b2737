"""Command lines: what --help shows, a missing flag gets, and the console has."""

import contextlib
import importlib
import pathlib
import re
import subprocess
import sys

import pytest

from encnet_jax import cli, commands
from encnet_jax.cli import process

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
    arguments = r"( NAME| (RUN|IMAGES)\.\.\.)? \[flags\]"
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
    assert "--count: Number of images to write. Default: 6." in said.out
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
        "error: unknown command 'tain'; expected one of: train, "
    )
    assert said.err.endswith("; did you mean 'train'?\n")
    status, said = encnet(capsys, "--version")
    assert status == 0 and said.out.startswith("encnet_jax 0.")
    status, said = encnet(capsys, "data", "nothing")
    assert status == 2 and "expected one of: prepare, check" in said.err


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("tr", "train"),
        ("data pre", "prepare"),
        ("eval --sp", "--split"),
    ],
)
def test_completion_offers_commands_and_flags(words, found, capsys):
    status, said = encnet(capsys, "completion")
    given = " ".join(f"'{word}'" for word in ["encnet", *words.split()])
    script = (
        f'encnet() {{ {sys.executable} -m encnet_jax "$@"; }}\n{said.out}\n'
        f"COMP_WORDS=({given}); COMP_CWORD={len(words.split())}; _encnet\n"
        'echo "${COMPREPLY[*]}"'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == found, done.stderr


def test_preparing_lists_the_data_sets(capsys):
    _, said = run("encnet_jax.data.prepare", capsys, "--help")
    listed = " ".join(said.out.split())
    assert "Name of the data set: ade20k, camvid, cityscapes, coco_voc, " in listed


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


def test_usage_of_python_m_names_the_module():
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
def test_a_configuration_that_python_cannot_run_is_refused(
    code, reason, tmp_path, capsys
):
    (tmp_path / "mine.py").write_bytes(code)
    status, said = run("train", capsys, f"--config={tmp_path / 'mine.py'}")
    assert status == 2 and reason in said.err
    assert said.err.count("\n") == 1 and "expected a Python file" in said.err


@pytest.mark.parametrize("value", ["nan", "inf", "1e400", "-1"])
def test_numbers_are_finite(value, capsys):
    flag = f"--peers_timeout_s={value}"
    status, said = run("train", capsys, "--config=quickstart:smoke", flag)
    assert status == 2 and "peers_timeout_s" in said.err and "number" in said.err


def test_integers_fit_into_floats(capsys):
    status, said = run("predict", capsys, f"--top={10**30}", "--input=x")
    assert status == 2 and "; expected a finite number of" in said.err


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("return 1 / 0", "line 2: ZeroDivisionError: division by zero"),
        ("return get_config(words)", "line 2: RecursionError"),
        ("raise SystemExit(0)", "line 2: SystemExit"),
        ("assert 0, 'x'", "line 2: AssertionError: x"),
        ("return None", "get_config returned a NoneType; expected a ConfigDict"),
        ("return {'seed': 1}", "get_config returned a dict; expected a ConfigDict"),
        ("return len(3)", "line 2: TypeError: object of type 'int' has no len()"),
    ],
)
def test_code_of_a_configuration_that_fails_has_one_line(code, says, tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text(f"def get_config(words=''):\n    {code}\n")
    status, said = run("train", capsys, f"--config={file}")
    assert status == 2 and said.err.count("\n") == 1
    assert says in said.err and "mine.py" in said.err


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    """The shell does not replace it in --workdir=~/x."""
    monkeypatch.setenv("HOME", str(tmp_path))
    line = cli.CommandLine(["x", "--workdir=~/runs", "--source=~/a,b"], None)
    line.string("workdir", "")
    line.strings("source", "")
    values = line.parse(loads_jax=False)
    assert values.workdir == f"{tmp_path}/runs"
    assert values.source == [f"{tmp_path}/a", "b"]


def test_output_to_a_full_disk_fails_at_the_end(monkeypatch, capsys):
    """The work goes on, and its exit status shows that lines are missing."""
    done = []

    def work(argv):
        print("x" * 100_000)
        print("y", flush=True)
        done.append(True)

    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", process._Stream(full))
        assert cli.run(work, ["work"]) == 2
        monkeypatch.undo()
        with contextlib.suppress(OSError):
            full.close()
    assert done
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("error: the output is incomplete: No space left on device;")
