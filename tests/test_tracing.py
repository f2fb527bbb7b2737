"""Profiles of a run: their folder, and the fraction of idle time."""

from types import SimpleNamespace

import jax
import pytest

from encnet_jax import config as config_lib
from encnet_jax.errors import UserError
from encnet_jax.train import loop, tracing


def test_idle_share_is_the_time_without_interval():
    # Two overlapping, one inside another, a gap of 3 and one of 2 in 0..20.
    intervals = [(10, 13), (0, 4), (2, 7), (3, 5), (15, 20)]
    assert tracing.idle_share(intervals) == pytest.approx(5 / 20)
    assert tracing.idle_share([(5, 9)]) == 0
    with pytest.raises(ValueError, match="no operation that ran on a device"):
        tracing.idle_share([])


def test_steps_and_programs_do_not_count_as_work():
    def line(name, *spans):
        events = [SimpleNamespace(start_ns=a, duration_ns=b - a) for a, b in spans]
        return SimpleNamespace(name=name, events=events)

    lines = [
        line("Steps", (0, 100)),
        line("XLA Modules", (0, 100)),
        line("XLA Ops", (0, 30), (50, 100)),
    ]
    planes = [
        SimpleNamespace(name="/host:CPU", lines=[line("python", (0, 100))]),
        SimpleNamespace(name="/device:TPU:0", lines=lines),
    ]
    found = tracing.device_intervals(SimpleNamespace(planes=planes))
    assert tracing.idle_share(found) == pytest.approx(0.2)


def test_a_run_writes_a_trace_and_prints_the_idle_share(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(tracing, "WARM_UP", 1)
    monkeypatch.setattr(tracing, "TRACED", 2)
    intervals = []

    def idle_share(found):
        intervals.extend(found)
        return 0.25

    monkeypatch.setattr(tracing, "idle_share", idle_share)
    config = config_lib.load("configs/quickstart.py:smoke")
    config.profile = True
    config.train.total_steps = 4
    config.data.val_split = ""
    loop.train(config, str(tmp_path))
    (trace,) = tmp_path.glob("plugins/profile/*/*.xplane.pb")
    assert list(trace.parent.glob("*perfetto_trace.json.gz"))
    (line,) = [x for x in capfd.readouterr().out.splitlines() if "device idle" in x]
    assert "2 steps traced, device idle 25.0 %" in line
    # Each device ran both steps at least.
    assert len(intervals) >= 2 * jax.device_count()
    assert all(start <= end for start, end in intervals)


def test_a_remote_workdir_is_refused():
    with pytest.raises(
        UserError, match="but --workdir is gs://bucket/run: choose a local folder"
    ):
        tracing.StepTracer(True, "gs://bucket/run", None)
