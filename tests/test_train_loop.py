"""Training end to end on generated scenes: stopping, resuming, initialising."""

import json
import os
import re
import shutil
import signal
import sys
import time

import jax
import numpy as np
import pytest
from smoke_runs import smoke_config

from encnet_jax import config as config_lib
from encnet_jax.checkpoints import read
from encnet_jax.errors import NotFiniteError, UserError
from encnet_jax.evaluate import run as run_lib
from encnet_jax.evaluate.loading import Selection
from encnet_jax.report import events
from encnet_jax.train import initialise, loop, scalars, starts
from encnet_jax.train import logbook as logbook_lib
from encnet_jax.train.logbook import Logbook
from encnet_jax.train.scalars import fetch


def variables_of(workdir):
    return jax.tree.leaves(read.restore_variables(str(workdir))[0])


@pytest.fixture
def signal_at(monkeypatch):
    """Returns a function that sends a signal after a step."""
    step_done = Logbook.step_done

    def arrange(wanted_step, number):
        def signalled(self, step, state, metrics):
            step_done(self, step, state, metrics)
            if step == wanted_step:
                os.kill(os.getpid(), number)

        monkeypatch.setattr(Logbook, "step_done", signalled)

    return arrange


def check_times(workdir, wall_s):
    """Checks both starts: no step was lost, and the second one's parts are complete."""
    first, second = starts.read(workdir)
    assert (first.from_step, first.to_step) == (0, 2)
    assert (second.from_step, second.to_step, second.lost_s) == (2, 4, 0)
    assert sum(second.seconds.values()) == pytest.approx(wall_s, rel=0.01, abs=0.1)
    for part in ("start-up", "compiling", "steps", "evaluation", "checkpoints"):
        assert second.seconds[part] > 0


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of four steps."""
    workdir = tmp_path_factory.mktemp("runs") / "finished"
    loop.train(smoke_config(), str(workdir))
    return workdir


def test_a_resumed_run_is_bit_identical(finished, tmp_path, signal_at):
    """Four steps equal two, a stop, a restart, and two more."""
    config, broken = smoke_config(), str(tmp_path / "broken")
    signal_at(2, signal.SIGTERM)
    loop.train(config, broken)
    assert read.find_step(broken) == 2
    began = time.monotonic()
    loop.train(config, broken)
    check_times(broken, time.monotonic() - began)
    assert read.find_step(broken) == 4
    for a, b in zip(variables_of(finished), variables_of(broken), strict=True):
        np.testing.assert_array_equal(a, b)


def test_evaluation_reports_the_score_of_the_checkpoint(finished, capsys):
    report = run_lib.evaluate_run(str(finished))
    written = json.loads((finished / "report.json").read_text())
    assert written == report
    seen = events.read_scalars(str(finished))
    for name in ("val/single/pixel_accuracy", "val/single/mean_iou"):
        # An event file keeps float32.
        assert report[name] == pytest.approx(seen[name][4], rel=1e-6)
    assert report["images"] == 8 and report["step"] == 4
    assert report["pixels"] == 8 * 192 * 192
    ground = rf"ground +{100 * report['iou']['ground']:.1f} "
    assert re.search(ground, capsys.readouterr().out)
    best = read.find_step(str(finished), "best")
    assert best == 4


def test_a_norm_group_that_does_not_divide_is_refused(tmp_path):
    config = smoke_config(**{"model.norm_group": 3})
    with pytest.raises(
        UserError, match="0 .one group of all devices. or a divisor of .*: 1, 2, 4, 8"
    ):
        loop.train(config, str(tmp_path / "run"))


def test_changed_configuration_is_refused(finished):
    config = smoke_config(**{"optim.base_lr": 0.5})
    with pytest.raises(UserError, match="optim.base_lr was 0.05 and is now 0.5"):
        loop.train(config, str(finished))


def test_used_workdir_is_refused(finished):
    from encnet_jax.pods import workdir as workdir_lib

    with workdir_lib.locked(str(finished)):
        with pytest.raises(UserError, match="another run is using"):
            loop.train(smoke_config(), str(finished))


def test_missing_checkpoints_are_reported(finished, tmp_path):
    with pytest.raises(UserError, match="no checkpoints in"):
        run_lib.evaluate_run(str(tmp_path))
    with pytest.raises(UserError, match="no checkpoint 3 .*expected one of: \\[4\\]"):
        run_lib.evaluate_run(str(finished), Selection(checkpoint="3"))
    with pytest.raises(UserError, match="expected a step, 'best' or 'newest'"):
        run_lib.evaluate_run(str(finished), Selection(checkpoint="latest"))


def test_a_finished_run_is_extended(finished, tmp_path, capsys):
    workdir = tmp_path / "copy"
    shutil.copytree(finished, workdir)
    with (workdir / "scalars.csv").open("a") as table:
        table.write("4,train/lo")  # As after a kill.
    longer = smoke_config(**{"train.total_steps": 6})
    nothing = str(tmp_path / "nothing")
    with pytest.raises(UserError, match="nothing contains no checkpoint to continue"):
        loop.train(smoke_config(), nothing, extend=2)
    with pytest.raises(UserError, match="keep the old value and add --extend 2"):
        loop.train(longer, str(workdir))
    with pytest.raises(UserError, match="expected at most 2147483647"):
        loop.train(smoke_config(), str(workdir), extend=2**31)
    loop.train(smoke_config(**{"train.log_every_steps": 1}), str(workdir), extend=2)
    assert "trained 6 steps" in capsys.readouterr().out
    assert read.find_step(str(workdir)) == 6
    # The rate of step 6 is that of the sixth of six steps: 0.05 * (1 - 5 / 6) ** 0.9.
    rates = events.read_scalars(str(workdir))["train/learning_rate"]
    assert rates[6] == pytest.approx(0.05 * (1 / 6) ** 0.9, rel=1e-4)
    with pytest.raises(UserError, match="if the run was extended, add --extend 2"):
        loop.train(smoke_config(), str(workdir))
    table = (workdir / "scalars.csv").read_text().splitlines()
    assert table[0] == "step,name,value"
    rows = [line.split(",") for line in table[1:] if line != "4,train/lo"]
    values = {(step, name): value for step, name, value in rows}
    assert float(values["6", "train/learning_rate"]) == pytest.approx(rates[6])
    assert ("4", "val/single/mean_iou") in values and ("6", "train/loss") in values


def test_an_infinite_loss_ends_the_run_and_keeps_the_last_good_checkpoint(tmp_path):
    fields = {"optim.base_lr": 1e16, "train.checkpoint_every_steps": 1}
    with pytest.raises(NotFiniteError, match="NaN or infinite between steps") as info:
        loop.train(smoke_config(**fields), str(tmp_path / "run"))
    assert info.value.exit_status == 3
    for leaf in variables_of(tmp_path / "run"):
        assert np.isfinite(leaf).all()


@pytest.mark.parametrize("start_step, saved_step", [(0, None), (3, 3)])
def test_a_resumed_run_knows_its_newest_checkpoint(tmp_path, start_step, saved_step):
    with Logbook(str(tmp_path), smoke_config().train, start_step) as logbook:
        assert logbook.saved_step == saved_step


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_save_and_stop(tmp_path, signal_at, number):
    config = smoke_config(**{"train.total_steps": 1000, "train.eval_every_epochs": 0.0})
    signal_at(3, number)
    loop.train(config, str(tmp_path / "run"))
    assert read.find_step(str(tmp_path / "run")) == 3


def test_time_limit_saves_and_stops(tmp_path):
    config = smoke_config(**{"train.max_minutes": 1e-9})
    loop.train(config, str(tmp_path / "run"))
    assert read.find_step(str(tmp_path / "run")) == 1


def test_the_bar_shows_compiling_and_is_closed_before_the_last_line(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(sys, "stderr", sys.stdout)
    monkeypatch.setattr(logbook_lib, "_is_terminal", lambda: True)
    config = config_lib.resolve(smoke_config(), config_lib.Facts(64))
    with Logbook(str(tmp_path), config.train, start_step=0) as logbook:
        assert "compiling" in capsys.readouterr().out
        logbook.step_done(1, None, {})
        logbook.finish("trained")
    told = capsys.readouterr().out
    assert "compiling" not in told and told.endswith("\ntrained\n")


def test_init_from_skips_only_listed_modules(finished, tmp_path, capsys):
    config = smoke_config(init_from=str(finished))
    config.model.num_codes = 8
    config.train.max_minutes = 1e-9
    codewords = "params/head/context/encoding/codewords"
    message = r"12 arrays differ, .*_head/context/\S+ shape \[32\] in .* shape \[8\] in"
    with pytest.raises(UserError, match=message):
        loop.train(config, str(tmp_path / "refused"))
    config.init_skip = "head/context, aux_head"
    loop.train(config, str(tmp_path / "run"))
    lines = capsys.readouterr().out.splitlines()
    assert f"  randomly initialised: {codewords}" in lines
    assert not [line for line in lines if "random: params/backbone" in line]
    own = read.restore_variables(str(tmp_path / "run"))[0]
    assert own["params"]["head"]["context"]["encoding"]["codewords"].shape[0] == 8


def test_unused_arrays_must_be_listed_too():
    model, saved = {"params": {"a": np.zeros(2)}}, {"params": {"a": np.ones(2)}}
    saved["params"]["head"] = {"b": np.ones(3)}
    with pytest.raises(
        UserError,
        match=r"1 arrays .*params/head/b', shape \[3\] in the source and absent in",
    ):
        initialise.take_matching(model, saved, "runs/x", ())
    with pytest.raises(UserError, match=r"1 arrays differ, for example .params/head/b"):
        initialise.take_matching(model, saved, "runs/x", ("hea",))
    taken, lines = initialise.take_matching(model, saved, "runs/x", ("head",))
    np.testing.assert_equal(taken, {"params": {"a": np.ones(2)}})
    assert lines == ["loaded 1 of 1 arrays from runs/x", "  not used: params/head/b"]


def test_the_loop_fetches_only_logged_metrics(tmp_path, monkeypatch):
    """Six steps, logged every three and at the save: two fetches."""
    fetched = []

    def counted(metrics):
        fetched.append(sorted(metrics))
        return fetch(metrics)

    monkeypatch.setattr(scalars, "fetch", counted)
    fields = {"train.total_steps": 6, "train.log_every_steps": 3}
    config = smoke_config(**fields, **{"data.val_split": "", "optim.base_lr": 1e-3})
    loop.train(config, str(tmp_path / "run"))
    assert len(fetched) == 2 and "loss" in fetched[0]
    assert sorted(events.read_scalars(str(tmp_path / "run"))["train/loss"]) == [3, 6]
