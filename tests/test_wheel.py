"""The package installed: a wheel in an environment of its own, used from elsewhere."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig

import pytest

PROJECT = pathlib.Path(__file__).resolve().parent.parent
PARTS = ("encnet_jax", "requirements", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with bin/encnet of a wheel made from this source."""
    folder = tmp_path_factory.mktemp("wheel")
    source, environment = folder / "source", folder / "environment"
    source.mkdir()
    for part in PARTS:
        copy = shutil.copytree if (PROJECT / part).is_dir() else shutil.copy
        copy(PROJECT / part, source / part)
    pip = (sys.executable, "-m", "pip")
    build = ("wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, source)
    subprocess.run((*pip, *build), check=True)
    subprocess.run((sys.executable, "-m", "venv", environment), check=True)
    (wheel,) = folder.glob("*.whl")
    python = environment / "bin" / "python"
    subprocess.run((*pip, "--python", python, "install", "-q", "--no-deps", wheel))
    # The packages it needs are those of the environment that runs the tests.
    found = next(environment.glob("lib/python*/site-packages"))
    (found / "needed.pth").write_text(sysconfig.get_path("purelib"))
    return environment


def call(environment, folder, *words):
    """Runs a command in a folder; returns what it prints."""
    variables = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [environment / "bin" / words[0], *words[1:]]
    done = subprocess.run(
        command, cwd=folder, env=variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_train_evaluate_predict_from_another_folder(installed, tmp_path):
    shutil.copy(PROJECT / "configs" / "quickstart.py", tmp_path)
    where = "import encnet_jax; print(encnet_jax.__file__)"
    assert str(installed) in call(installed, tmp_path, "python", "-c", where)
    config = "--config=quickstart.py:smoke"
    call(installed, tmp_path, "encnet", "train", config, "--workdir=run")
    scores = call(installed, tmp_path, "encnet", "eval", "--workdir=run")
    assert "val/single/mean_iou" in scores
    export = ("data", "export_images", config, "--count=2", "--output=.")
    call(installed, tmp_path, "encnet", *export)
    predict = ("predict", "--workdir=run", "--input=images", "--output=labelled")
    said = call(installed, tmp_path, "encnet", *predict)
    assert "labelled 2 of 2 images with step 4" in said
    assert len(list((tmp_path / "labelled").glob("*_ids.png"))) == 2


@pytest.mark.slow
def test_the_wheel_names_what_it_needs(installed):
    (metadata,) = installed.glob("lib/python*/site-packages/encnet_jax-*/METADATA")
    lines = metadata.read_text().splitlines()
    needed = [line for line in lines if line.startswith("Requires-Dist: ")]
    names = (re.match(r"Requires-Dist: ([\w-]+)", line) for line in needed)
    always = {
        name[1] for name, line in zip(names, needed, strict=True) if "extra" not in line
    }
    assert {"jax", "flax", "orbax-checkpoint", "Pillow", "safetensors"} <= always
    assert not {"pytest", "ruff", "tensorflow-cpu", "torch", "onnx"} & always
    extras = {line.split()[1] for line in lines if line.startswith("Provides-Extra: ")}
    assert extras == {"dev", "export", "plan", "torch", "train"}
    assert any("encnet_jax/py.typed" in f for f in _record(metadata))


def _record(metadata):
    return (metadata.parent / "RECORD").read_text().splitlines()
