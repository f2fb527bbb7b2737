"""The wheel, built from the source distribution, installed and used elsewhere."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile

import pytest

PROJECT = pathlib.Path(__file__).resolve().parent.parent
PIP = (sys.executable, "-m", "pip")
# Folders of a clone that no distribution contains; some are large.
LEFT_OUT = {".git", ".venv", "data", "runs", "dist", "build", "site"}


def not_copied(folder, names):
    """Returns the names that shutil.copytree leaves out of a folder."""
    return LEFT_OUT & set(names) if pathlib.Path(folder) == PROJECT else ()


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """A folder with the sdist and the wheel built from it, as `make dist` does."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    shutil.copytree(PROJECT, source, ignore=not_copied)
    build = ("-m", "build", "--no-isolation", "--outdir", folder, source)
    subprocess.run((sys.executable, *build), check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def wheel(distributions):
    """The wheel's file."""
    (made,) = distributions.glob("*.whl")
    return made


@pytest.mark.slow
def test_the_source_distribution_can_be_tested_and_documented(distributions):
    (made,) = distributions.glob("*.tar.gz")
    with tarfile.open(made) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = "train.py Makefile mkdocs.yml requirements.txt requirements/run.txt"
    needed += (
        " configs/ade20k.py tests/conftest.py docs/commands.md LICENSE CITATION.cff"
    )
    assert not set(needed.split()) - names
    assert not [name for name in names if "__pycache__" in name]


def install(environment, *words):
    """Makes an environment and installs into it; returns its folder of packages."""
    subprocess.run((sys.executable, "-m", "venv", environment), check=True)
    command = (*PIP, "--python", environment / "bin" / "python", "install", "-q")
    subprocess.run((*command, *words), check=True)
    return next(environment.glob("lib/python*/site-packages"))


@pytest.fixture(scope="module")
def installed(wheel):
    """A folder with bin/encnet, of which all else is where the tests run."""
    environment = wheel.parent / "environment"
    packages = install(environment, "--no-deps", wheel)
    (packages / "needed.pth").write_text(sysconfig.get_path("purelib"))
    return environment


@pytest.fixture(scope="module")
def alone(wheel):
    """A folder with bin/encnet and what it requires to run and export, no more."""
    environment = wheel.parent / "alone"
    install(environment, f"{wheel}[export]")
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
    where = "import encnet_jax; print(encnet_jax.__file__)"
    assert str(installed) in call(installed, tmp_path, "python", "-c", where)
    config = "--config=quickstart:smoke"  # Found by name, in an empty folder.
    call(installed, tmp_path, "encnet", "train", config, "--workdir=run")
    copied = ("config", "--copy", "ade20k", "mine.py")
    call(installed, tmp_path, "encnet", *copied)
    ours = (PROJECT / "configs" / "ade20k.py").read_bytes()
    assert (tmp_path / "mine.py").read_bytes() == ours
    scores = call(installed, tmp_path, "encnet", "eval", "--workdir=run")
    assert "val/single/mean_iou" in scores
    export = ("data", "export_images", config, "--count=2", "--output=.")
    call(installed, tmp_path, "encnet", *export)
    predict = ("predict", "--workdir=run", "--input=images", "--output=labelled")
    said = call(installed, tmp_path, "encnet", *predict)
    assert "labelled 2 of 2 images with step 4" in said
    assert len(list((tmp_path / "labelled").glob("*_ids.png"))) == 2


WITHOUT_TENSORFLOW = """
import importlib.util
import encnet_jax

for name in ("tensorflow", "tensorflow_datasets", "torch"):
    assert importlib.util.find_spec(name) is None, name
ours, handed = (encnet_jax.load(net)("images/val_0000.png") for net in ("run", "net"))
assert ours.labels.shape == ours.image.shape[:2]
assert (ours.confidence == handed.confidence).all()
"""


@pytest.mark.slow
def test_networks_are_trained_used_and_exported_without_tensorflow(alone, tmp_path):
    shutil.copy(PROJECT / "configs" / "quickstart.py", tmp_path)
    config = "--config=quickstart.py:smoke"
    call(alone, tmp_path, "encnet", "train", config, "--workdir=run")
    export = ("data", "export_images", config, "--count=2", "--output=.")
    call(alone, tmp_path, "encnet", *export)
    predict = ("predict", "--workdir=run", "--input=images", "--output=labelled")
    assert "labelled 2 of 2 images" in call(alone, tmp_path, "encnet", *predict)
    for kind in ("stablehlo", "onnx"):
        words = (f"--format={kind}", f"--output=net.{kind}", "--size=96x96")
        said = call(alone, tmp_path, "encnet", "export", "--workdir=run", *words)
        assert f"wrote net.{kind}" in said
    words = ("--format=hub", "--output=net")
    call(alone, tmp_path, "encnet", "export", "--workdir=run", *words)
    call(alone, tmp_path, "python", "-c", WITHOUT_TENSORFLOW)


@pytest.mark.slow
def test_the_wheel_declares_its_requirements(installed):
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
    accelerators = {"tpu", "cuda12", "cuda13"}
    assert extras == {"dev", "export", "gcs", "plan", "torch", "train"} | accelerators
    assert any("encnet_jax/py.typed" in f for f in _record(metadata))


def _record(metadata):
    return (metadata.parent / "RECORD").read_text().splitlines()
