"""A run that was saved before the package was regrouped is still of use."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

PROJECT = pathlib.Path(__file__).resolve().parent.parent
BEFORE = "705ac97"  # The last commit whose modules stood side by side.
SPEC = "configs/quickstart.py:smoke"


def python(*arguments, cwd=PROJECT):
    """Runs a command line of the project and returns what it printed."""
    run = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.fixture(scope="module")
def old_run(tmp_path_factory):
    """Trains four steps with the old code; returns (workdir, what it scored)."""
    folder = tmp_path_factory.mktemp("old")
    archive = subprocess.run(
        ["git", "archive", BEFORE], cwd=PROJECT, capture_output=True
    )
    if archive.returncode:
        pytest.skip(f"no git history that reaches back to {BEFORE}")
    code, run = folder / "code", folder / "run"
    code.mkdir()
    subprocess.run(["tar", "x"], input=archive.stdout, cwd=code, check=True)
    fields = ("--config.train.total_steps=8", "--config.train.max_minutes=0")
    train = ("train.py", "--config", SPEC, *fields, "--workdir", str(run))
    python(*train, "--config.train.checkpoint_every_steps=4", cwd=code)
    for step in (run / "checkpoints").iterdir():
        if step.name == "8":  # As if it had been stopped after half of its steps.
            subprocess.run(["rm", "-r", str(step)], check=True)
    said = python("eval.py", "--workdir", str(run), cwd=code)
    return run, fields, said


def score(said):
    return next(line for line in said.splitlines() if "mean_iou" in line)


@pytest.mark.slow
def test_it_scores_as_it_did(old_run):
    run, _, said = old_run
    assert score(python("eval.py", "--workdir", str(run))) == score(said)


@pytest.mark.slow
def test_it_predicts(old_run, tmp_path):
    run, _, _ = old_run
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    out = tmp_path / "out"
    names = ("--input", str(tmp_path / "a.png"), "--output", str(out))
    python("predict.py", "--workdir", str(run), *names)
    with Image.open(out / "a_ids.png") as ids:
        assert ids.size == (50, 40)


@pytest.mark.slow
def test_it_resumes(old_run):
    run, fields, _ = old_run
    train = ("train.py", "--config", f"{SPEC},paper", *fields, "--workdir", str(run))
    said = python(*train, "--config.train.checkpoint_every_steps=4")
    assert "resuming at step 4 of 8" in said
    assert (run / "checkpoints" / "8").is_dir()
