"""Several real processes: the same training, evaluation and checkpoints as one."""

import glob
import json
import re
import signal
import time

import jax
import numpy as np
import pytest
from joined_tasks import make_state
from processes import (
    SMOKE,
    Ended,
    finish,
    read_until,
    start,
    start_joined,
    succeed,
    wait_for,
)
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from encnet_jax.checkpoints import read
from encnet_jax.errors import UserError
from encnet_jax.pods import distributed

NO_DROPOUT = "--config.model.dropout=0.0"  # Its units are drawn for each device.


def scalars(workdir):
    events = EventAccumulator(str(workdir))
    events.Reload()
    return {
        tag: [event.value for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
        if tag != "train/images_per_second" and not tag.startswith("time/")
    }


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Four steps on six devices of one process, and on two of each of three."""
    folders = [tmp_path_factory.mktemp(f"of_{count}") for count in (1, 3)]
    program = "tests/train_in_float64.py"
    command = (program, *SMOKE, NO_DROPOUT, "--config.train.batch_size=24")
    # Platform-specific forms have tests of their own, and compile slowly.
    forms = {"ENCNET_PLATFORM_FORMS": "0"}
    succeed(
        start(*command, f"--workdir={folders[0]}", devices=6, **forms),
        *start_joined(3, *command, f"--workdir={folders[1]}", devices=2, **forms),
    )
    return folders


def test_training_equals_one_process(trained):
    alone, joined = map(scalars, trained)
    assert alone.keys() == joined.keys() and len(alone["train/loss"]) == 2
    for name, values in alone.items():
        np.testing.assert_allclose(joined[name], values, rtol=1e-6, err_msg=name)
    states = [read.restore_variables(str(folder))[0] for folder in trained]
    assert {"params", "batch_stats"} == set(states[0])
    for ours, theirs in zip(*map(jax.tree.leaves, states), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-10)


def test_only_process_0_writes_logs(trained):
    for workdir in trained:
        assert len(glob.glob(f"{workdir}/events.*")) == 1


def test_evaluation_on_three_processes_equals_one(trained):
    reports, texts = [], []
    for processes in (1, 3):
        command = ("eval.py", f"--workdir={trained[1]}")
        texts += succeed(*(start_joined(processes, *command)))
        reports.append(json.loads((trained[1] / "report.json").read_text()))
    assert [report.pop("devices") for report in reports] == ["1 x cpu", "3 x cpu"]
    for report in reports:
        report.pop("command")  # Its flags name the process.
        report.pop("date")
        report.pop("evaluation")  # A random number.
    assert [report.pop("processes") for report in reports] == [1, 3]
    assert reports[0]["images"] == 17
    # Batches differ in size, and probabilities in their last bits.
    quality = [jax.tree.leaves(report.pop("quality")) for report in reports]
    np.testing.assert_allclose(*quality, rtol=1e-5)
    assert {"val/single/boundary_iou", "val/single/presence_ap"} <= reports[0].keys()
    for name in ("calibration_error", "presence_ap"):
        ours, theirs = (report.pop(f"val/single/{name}") for report in reports)
        assert ours == pytest.approx(theirs, rel=1e-5)
    assert reports[0] == reports[1]
    # Process 0 alone shows how far it is: with five of the seventeen images.
    bars = [re.findall(r"(\d+)/\d+ \[.*image", text) for text in texts]
    assert [bar[-1:] for bar in bars] == [["17"], ["5"], [], []]


def test_a_signal_to_one_process_stops_the_evaluation_of_all(trained):
    command = ("eval.py", f"--workdir={trained[0]}", *SMOKE, NO_DROPOUT)
    processes = start_joined(2, *command, "--config.eval.max_images=100")
    read_until(processes[0], "evaluate:")
    processes[1].send_signal(signal.SIGTERM)
    sent = time.monotonic()
    ended = finish(*processes)
    assert time.monotonic() - sent < 30
    assert [status for status, _ in ended] == [143, 143]
    texts = [text for _, text in ended]
    told = "evaluation stopped by SIGTERM: nothing was written"
    assert [text.count(told) for text in texts] == [1, 0]
    assert not (trained[0] / "report.json").exists()


def start_tasks(names, folder, *, processes, devices=1):
    command = ("tests/joined_tasks.py", f"--task={names}", f"--folder={folder}")
    return start_joined(processes, *command, devices=devices)


@pytest.fixture(scope="module")
def tasks_of_two(tmp_path_factory):
    """One process saves; two, of four devices each, do every task; one restores.

    Returns:
        The folder, and by task, for each of the two processes, its exit status and what
        it printed.
    """
    folder = tmp_path_factory.mktemp("joined")
    succeed(*start_tasks("save", folder, processes=1))
    tasks = "restore,save,fail,lack,differ,separate,stop"
    pair = start_tasks(tasks, folder, processes=2, devices=4)
    for index in range(2):
        wait_for(folder, f"ready_{index}", *pair)
    time.sleep(1)
    pair[1].send_signal(signal.SIGTERM)
    ended = {}
    for text in succeed(*pair):
        parts = re.split(
            r"^end of (\w+): (\d+)\n", text + "end of stop: 0\n", flags=re.M
        )
        for text, name, status in zip(
            parts[::3], parts[1::3], parts[2::3], strict=False
        ):
            ended.setdefault(name, []).append(Ended(int(status), text))
    assert ",".join(ended) == tasks
    succeed(*start_tasks("restore", folder, processes=1))
    return folder, ended


@pytest.mark.parametrize("saving, restoring", [(2, 1), (1, 2)])
def test_checkpoints_pass_between_numbers_of_processes(saving, restoring, tasks_of_two):
    folder, ended = tasks_of_two
    assert [status for status, _ in ended["save"] + ended["restore"]] == [0] * 4
    expected = jax.tree.leaves(make_state())
    for process in range(restoring):
        restored = np.load(folder / f"of_{saving}" / f"restored_{process}.npz")
        assert len(restored) == len(expected)
        for index, array in enumerate(expected):
            np.testing.assert_array_equal(restored[str(index)], array)


def test_both_forms_of_the_step_give_the_same_bits(tmp_path):
    processes = start_tasks("forms", tmp_path, processes=2)
    for status, text in finish(*processes, timeout_s=300):
        assert status == 0, text
        assert re.search(r"0 of \d{2,} arrays differ after step 2", text), text


def test_one_signal_stops_all_processes_at_the_same_step(tasks_of_two):
    texts = [text for _, text in tasks_of_two[1]["stop"]]
    stops = [re.search(r"stopped after step (\d+) by SIGTERM", t)[1] for t in texts]
    assert stops[0] == stops[1]


def test_an_error_in_one_process_ends_all(tasks_of_two):
    ended = tasks_of_two[1]["fail"]
    assert [status for status, _ in ended] == [2, 2]
    assert "this run failed in process 1" in ended[0].text
    assert "error: no such image" in ended[1].text


def test_a_file_missing_in_one_process_ends_all(tasks_of_two):
    folder, ended = tasks_of_two
    assert [status for status, _ in ended["lack"]] == [2, 2]
    assert "this run failed in process 1" in ended["lack"][0].text
    assert f"{folder}/none: No such file" in ended["lack"][1].text


def test_processes_of_different_runs_are_refused(tasks_of_two):
    ended = tasks_of_two[1]["differ"]
    assert [status for status, _ in ended] == [2, 2]
    assert all("places may differ" in text for _, text in ended)
    assert "this run failed in process 1" in ended[0].text
    assert "seed is 10 in process 1 but 1 in process 0" in ended[1].text


def test_folders_that_processes_do_not_share_are_refused(tasks_of_two):
    folder, ended = tasks_of_two
    ended = ended["separate"]
    assert [status for status, _ in ended] == [2, 2]
    assert "gs://" in ended[1].text and "cannot read the files" in ended[1].text
    assert not any("went on" in text for _, text in ended)
    assert not list(folder.glob("*/.probe*"))


def test_a_lost_process_ends_the_others(tmp_path):
    ended = finish(*start_tasks("die", tmp_path, processes=2), timeout_s=300)
    assert ended[1].status == -signal.SIGKILL
    assert ended[0].status in (4, 134, -signal.SIGABRT)
    assert re.search(
        "[Ss]tart the command again on every host|another task died", ended[0].text
    )


@pytest.mark.parametrize("present", [0, 1])
def test_missing_processes_are_named(present):
    command = (
        "train.py",
        *SMOKE,
        "--coordinator_address=localhost:1",
        "--num_processes=2",
    )
    if present == 0:
        command = (*command[:-2], "--coordinator_address=localhost:0", command[-1])
    process = start(*command, f"--process_id={present}", "--peers_timeout_s=2")
    ((status, text),) = finish(process, timeout_s=300)
    assert status == 4, text
    assert "start the command on every host" in text and "Traceback" not in text


@pytest.mark.parametrize(
    "flags, message",
    [
        (("h:1", 2, None), "missing --process_id; expected all of"),
        (("h", 2, 0), "expected HOST:PORT"),
        (("h:1", 2, 2), "less than --num_processes, which is 2"),
    ],
)
def test_wrong_flags_are_refused(flags, message):
    with pytest.raises(UserError, match=message):
        distributed.join(*flags)
