"""No work is lost when a run is stopped or killed, or loses a process."""

import errno
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from processes import PROJECT, SMOKE, finish, start_joined, succeed, wait_for

from encnet_jax import cli, tasks
from encnet_jax import config as config_lib
from encnet_jax.checkpoints import read
from encnet_jax.commands import eval as eval_command
from encnet_jax.errors import UserError
from encnet_jax.scoring import evaluator as evaluator_lib
from encnet_jax.scoring import image_scores
from encnet_jax.scoring.metrics import ConfusionMatrix
from encnet_jax.train import loop
from encnet_jax.train.assemble import init_variables
from encnet_jax.train.logbook import Logbook

OLDER = '{"rule": "", "split": "val", "protocol": {}, "step": -1}'


def test_a_signal_during_an_evaluation_saves_and_the_next_start_resumes(
    tmp_path, monkeypatch
):
    """Steps and scores are replaced: only stopping, saving and resuming are tested."""

    def step(state, batch):
        return state.replace(step=state.step + 1), {"loss": jnp.float32(0)}

    seen = []

    def confusion(self, variables, examples, total=None, **_):
        for example in examples:
            seen.append(example["id"])
            if len(seen) == 3:
                os.kill(os.getpid(), signal.SIGTERM)
        return ConfusionMatrix(self.num_classes)

    monkeypatch.setattr(loop, "parallel_step", lambda *_: step)
    monkeypatch.setattr(evaluator_lib.Evaluator, "confusion", confusion)
    config = config_lib.load("configs/quickstart.py:smoke")
    config.train.num_pictures = 0
    config.train.eval_every_epochs = 2 / 50  # Fifty steps are an epoch: after step 2.
    config.train.checkpoint_every_steps = 100
    workdir = str(tmp_path)
    loop.train(config, workdir)
    assert read.find_step(workdir) == 2 and len(seen) == 3
    loop.train(config, workdir)
    assert read.find_step(workdir) == 4 and len(seen) == 3 + 8


@pytest.fixture(scope="module")
def random_run(tmp_path_factory):
    """A run of random weights on generated scenes, to copy."""
    workdir = tmp_path_factory.mktemp("random")
    config = config_lib.resolve(
        config_lib.load("configs/quickstart.py:smoke"), config_lib.Facts(400)
    )
    model = tasks.of(config).build_model(13)
    variables = jax.device_get(
        init_variables(model, config.seed, config.data.crop_size)
    )
    read.save_variables(str(workdir), variables, config)
    return workdir


def evaluated(workdir, random_run, monkeypatch, confusion) -> int:
    """Runs eval.py next to an older report; returns its exit status."""
    shutil.copytree(random_run, workdir, dirs_exist_ok=True)
    (workdir / "report.json").write_text(OLDER)
    monkeypatch.setattr(evaluator_lib.Evaluator, "confusion", confusion)
    # Too late for it here: other tests have used JAX.
    monkeypatch.setattr(cli, "join_processes", lambda values: None)
    return eval_command.main(["eval.py", f"--workdir={workdir}"])


@pytest.mark.parametrize("number, status", [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_signal_ends_an_evaluation_and_writes_nothing(
    number, status, tmp_path, random_run, monkeypatch, capsys
):
    seen = []

    def confusion(self, variables, examples, total=None, **_):
        for example in examples:
            seen.append(example["id"])
            os.kill(os.getpid(), getattr(signal, number))

    assert evaluated(tmp_path, random_run, monkeypatch, confusion) == status
    assert len(seen) == 1 and (tmp_path / "report.json").read_text() == OLDER
    assert f"evaluation stopped by {number}: nothing was" in capsys.readouterr().out


def test_a_signal_after_the_last_image_does_not_stop_the_report(
    tmp_path, random_run, monkeypatch, capsys
):
    """The report is complete: the status must not say that it was stopped."""

    def confusion(self, variables, examples, total=None, **_):
        os.kill(os.getpid(), signal.SIGTERM)
        return ConfusionMatrix(self.num_classes)

    assert evaluated(tmp_path, random_run, monkeypatch, confusion) == 0
    assert json.loads((tmp_path / "report.json").read_text())["step"] == 0
    assert "stopped" not in capsys.readouterr().out


def test_scores_are_printed_before_anything_is_saved(
    tmp_path, random_run, monkeypatch, capsys
):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(image_scores.ImageScores, "save", full)
    with pytest.raises(UserError, match="The scores above were not saved"):
        evaluated(
            tmp_path,
            random_run,
            monkeypatch,
            lambda self, *_, **__: ConfusionMatrix(self.num_classes),
        )
    assert "pixel_accuracy" in capsys.readouterr().out


def test_a_full_disk_ends_a_run_that_logs(tmp_path, capsys):
    config = config_lib.resolve(
        config_lib.load("configs/quickstart.py:smoke"), config_lib.Facts(400)
    )
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def log(argv):
        with Logbook(str(tmp_path), config.train, start_step=0) as logbook:
            resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
            for step in range(1000):
                logbook.scores(step, {"val/single/mean_iou": 0.5})

    try:
        status = cli.run(log, ["log"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert status == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "error: File too large; free some space, then start again"


def test_a_deleted_workdir_ends_the_run_without_losing_steps(tmp_path, monkeypatch):
    workdir = tmp_path / "run"

    def step(state, batch):
        if int(state.step) == 1:
            shutil.rmtree(workdir)
        return state.replace(step=state.step + 1), {"loss": jnp.float32(0)}

    monkeypatch.setattr(loop, "parallel_step", lambda *_: step)
    config = config_lib.load("configs/quickstart.py:smoke")
    config.data.val_split = ""
    config.train.total_steps = 100
    with pytest.raises(UserError, match="was deleted .* the same command resumes"):
        loop.train(config, str(workdir))
    assert read.find_step(str(workdir)) == 2


LONG = ("train.py", *SMOKE, "--config.train.total_steps=100000")


@pytest.mark.slow
def test_a_signal_to_one_of_two_processes_saves_and_the_next_start_resumes(tmp_path):
    command = (
        *LONG,
        f"--workdir={tmp_path}",
        "--config.train.checkpoint_every_steps=1",
    )
    processes = start_joined(2, *command)
    wait_for(tmp_path / "checkpoints", "[1-9]", *processes)
    processes[1].send_signal(signal.SIGTERM)
    texts = succeed(*processes)
    stopped = int(re.search(r"stopped at step (\d+) by SIGTERM", texts[0])[1])
    assert read.find_step(str(tmp_path)) == stopped
    limit = "--config.train.max_minutes=0.0001"
    texts = succeed(*start_joined(2, *command, limit))
    assert f"resuming at step {stopped} of 100000" in texts[0]
    assert read.find_step(str(tmp_path)) > stopped


@pytest.mark.slow
def test_a_killed_process_ends_the_run_and_the_next_start_resumes(tmp_path):
    command = (
        *LONG,
        f"--workdir={tmp_path}",
        "--config.train.checkpoint_every_steps=2",
    )
    processes = start_joined(2, *command)
    wait_for(tmp_path / "checkpoints", "[1-9]", *processes)
    processes[1].kill()
    ended = finish(*processes, timeout_s=100)
    assert ended[0].status not in (0, None)
    assert re.search(
        "[Ss]tart the command again on every host|another task died", ended[0].text
    )
    limit = "--config.train.max_minutes=0.0001"
    texts = succeed(*start_joined(2, *command, limit))
    assert re.search(r"resuming at step \d+ of 100000", texts[0])


@pytest.mark.slow
def test_killed_runs_end_bit_identical():
    """A short form of the benchmark, which kills the run twenty times."""
    command = [sys.executable, "benchmarks/faults.py", "--kills=3", "--steps=120"]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    done = subprocess.run(
        command,
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "bit-identical" in done.stdout and "kills: 3" in done.stdout
