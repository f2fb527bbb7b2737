"""Checkpoints: whole or not at all, and what is damaged is never used."""

import errno
import os

import jax
import numpy as np
import pytest
from etils import epath
from joined_tasks import make_state, settings
from processes import finish, start

from encnet_jax import config as config_lib
from encnet_jax.checkpoints import checkpointer as checkpointer_lib
from encnet_jax.checkpoints import integrity, orbax, read
from encnet_jax.checkpoints.checkpointer import Checkpointer
from encnet_jax.errors import UnsavedError, UserError


@pytest.fixture
def workdir(tmp_path):
    """A run with checkpoints of steps 1, 2 and 3; step 2 has the best score."""
    with Checkpointer(str(tmp_path), keep=3) as checkpointer:
        for step, score in ((1, 0.1), (2, 0.5), (3, 0.2)):
            checkpointer.save(make_state(step), settings(), score)
    return tmp_path


def assert_equal(ours, theirs):
    for one, other in zip(*map(jax.tree.leaves, (ours, theirs)), strict=True):
        np.testing.assert_array_equal(one, other)


def restore(workdir):
    with Checkpointer(str(workdir), keep=3) as checkpointer:
        return checkpointer.restore(make_state(fill=0.0))


def largest_file(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    return max(files, key=lambda path: path.stat().st_size)


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def delete(path):
    path.unlink()


def test_a_saved_state_is_restored(workdir):
    state = restore(workdir)
    assert_equal(state, make_state(3))
    assert state.params["conv"]["bias"].sharding == make_state().step.sharding
    variables, config = read.restore_variables(str(workdir), "best")
    expected = make_state(2)
    assert_equal(variables["params"], expected.ema_params)
    assert_equal(variables["batch_stats"], expected.batch_stats)
    assert config_lib.to_json(config) == config_lib.to_json(settings())


@pytest.mark.parametrize(
    "harm, message",
    [
        (flip, "has changed since it was written"),
        (truncate, "bytes instead of"),
        (delete, "is missing"),
    ],
)
def test_damaged_files_are_named_and_skipped(harm, message, workdir, capsys):
    folder = workdir / "checkpoints" / "3"
    path = largest_file(folder)
    harm(path)
    with pytest.raises(UserError, match=f"checkpoint 3 .* is damaged: .*{message}"):
        read.restore_variables(str(workdir), 3)
    assert read.find_step(str(workdir)) == 2
    assert_equal(restore(workdir), make_state(2))
    shown = capsys.readouterr().out
    assert f"step 3: {path.relative_to(folder)}" in shown and message in shown
    # The run comes to step 3 again, and must be able to save it.
    with Checkpointer(str(workdir), keep=3) as checkpointer:
        checkpointer.save(make_state(3), settings(), None)
    assert_equal(restore(workdir), make_state(3))


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "is missing"),
        ("{", "cannot be read"),
        ("[]", "lists no items"),
        ('{"item_handlers": []}', "lists no items"),
    ],
)
def test_a_damaged_list_of_items_is_noticed(content, message, workdir):
    file = workdir / "checkpoints" / "3" / "_CHECKPOINT_METADATA"
    file.unlink()
    if content is not None:
        file.write_text(content)
    found = f"3 .* is damaged: _CHECKPOINT_METADATA {message}"
    with pytest.raises(UserError, match=found):
        read.restore_variables(str(workdir), 3)
    assert read.find_step(str(workdir)) == 2


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("config/metadata", "{", "cannot be read"),
        ("config/metadata", "[]", "does not contain the expected configuration"),
        ("config/metadata", '{"a.b": 1}', "does not contain the expected config.*"),
        ("variables/_METADATA", "{}", "cannot be read"),
        ("variables/manifest.ocdbt", "{}", "cannot be read"),
    ],
)
def test_foreign_contents_are_refused_in_one_line(name, content, message, workdir):
    folder = epath.Path(workdir / "checkpoints" / "3")
    (folder / name).write_text(content)
    integrity.seal(folder)
    with pytest.raises(
        UserError, match=f"{folder}:? {message} .*; restore it"
    ) as found:
        read.restore_variables(str(workdir), 3)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("name", ["sha256.json", "config/metadata"])
def test_a_file_that_may_not_be_read_is_not_called_damaged(name, workdir, monkeypatch):
    denied = workdir / "checkpoints" / "3" / name
    assert denied.exists()
    real = os.access
    monkeypatch.setattr(
        os, "access", lambda path, how: str(path) != str(denied) and real(path, how)
    )
    with pytest.raises(UserError, match=f"{denied}: Permission denied; ask the owner"):
        read.find_step(str(workdir))


def test_every_file_is_checked(workdir):
    folder = workdir / "checkpoints" / "3"
    later = {"_CHECKPOINT_METADATA", "commit_success.txt", "score.json"}
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        if path.parent == folder and path.name in later:
            continue
        before = path.read_bytes()
        flip(path)
        assert integrity.find_damage(epath.Path(folder)), path
        path.write_bytes(before)
    assert integrity.find_damage(epath.Path(folder)) is None


@pytest.mark.parametrize("harm", [flip, truncate, delete])
@pytest.mark.parametrize("step", [1, 2])
def test_a_damaged_score_file_loses_only_the_score(harm, step, workdir):
    harm(workdir / "checkpoints" / str(step) / "score.json")
    assert read.find_step(str(workdir)) == 3
    # Step 2 was the best, step 3 is the next one.
    assert read.find_step(str(workdir), "best") == (3 if step == 2 else 2)
    assert_equal(restore(workdir), make_state(3))


def test_the_best_is_preferred_unless_it_is_damaged_or_nothing_is_scored(workdir):
    assert read.preferred(str(workdir)) == "best"
    said = read.describe_step(str(workdir), 3)
    assert said == f"{workdir}: step 3 (best is 2 with 0.5000, newest is 3)"
    flip(largest_file(workdir / "checkpoints" / "2"))
    assert read.preferred(str(workdir)) is None
    for score in workdir.glob("checkpoints/*/score.json"):
        score.unlink()
    assert read.preferred(str(workdir)) is None
    assert "no step is scored" in read.describe_step(str(workdir), 3)


@pytest.mark.parametrize("name", ["²", "00", "-1", "3.damaged", "x"])
def test_folders_not_named_by_a_step_are_ignored(name, workdir):
    (workdir / "checkpoints" / name).mkdir()
    assert read.find_step(str(workdir)) == 3
    assert_equal(restore(workdir), make_state(3))
    assert (workdir / "checkpoints" / name).is_dir()


def test_the_best_and_the_newest_checkpoints_are_kept(tmp_path):
    with Checkpointer(str(tmp_path), keep=1) as checkpointer:
        for step, score in ((1, 0.3), (2, 0.1), (3, 0.5), (4, None)):
            checkpointer.save(make_state(step), settings())
            if score is not None:
                checkpointer.score(step, score)
    assert integrity.steps(epath.Path(tmp_path / "checkpoints")) == [3, 4]
    with Checkpointer(str(tmp_path), keep=1) as checkpointer:
        checkpointer.save(make_state(5), settings(), 0.2)
    assert integrity.steps(epath.Path(tmp_path / "checkpoints")) == [3, 5]


def test_a_workdir_with_a_backslash_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"a\\b/checkpoints|contains a backslash"):
        Checkpointer(str(tmp_path / "a\\b"), keep=1)
    with pytest.raises(UserError, match="contains a backslash"):
        read.find_step(str(tmp_path / "a\\b"))
    assert not list(tmp_path.iterdir())


def test_a_workdir_that_is_not_utf_8_is_refused(tmp_path):
    with pytest.raises(UserError, match="is not UTF-8"):
        Checkpointer(f"{tmp_path}/a\udcff", keep=1)


def test_arrays_written_to_another_folder_are_reported(tmp_path, monkeypatch):
    """As TensorStore does to a path that it reads differently."""
    seal = integrity.seal

    def moved(folder):
        (folder / "variables/manifest.ocdbt").rename(tmp_path / "elsewhere")
        seal(folder)

    monkeypatch.setattr(integrity, "seal", moved)
    checkpointer = Checkpointer(str(tmp_path), keep=1)
    checkpointer.save(make_state(1), settings())
    with pytest.raises(UserError, match="arrays .* were not written to .*variables"):
        checkpointer.close()
    assert integrity.steps(epath.Path(tmp_path / "checkpoints")) == []


def test_after_a_failed_write_the_newest_complete_step_is_the_latest(
    tmp_path, monkeypatch
):
    """Orbax lists a step when its write starts, also if the write fails."""
    seal, full = integrity.seal, []

    def fill(folder):
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        seal(folder)

    monkeypatch.setattr(integrity, "seal", fill)
    with Checkpointer(str(tmp_path), keep=1) as checkpointer:
        checkpointer.save(make_state(1), settings())
        checkpointer.wait()
        full.append(True)
        checkpointer.save(make_state(2), settings())
        with pytest.raises(UserError, match="newest complete checkpoint: step 1. Free"):
            checkpointer.wait()
        assert checkpointer.latest_step() == 1
        full.clear()
        checkpointer.save(make_state(2), settings())
    assert_equal(restore(tmp_path), make_state(2))


def test_a_checkpoint_that_is_missing_after_its_write_is_reported(tmp_path):
    checkpointer = Checkpointer(str(tmp_path), keep=1)
    checkpointer.save(make_state(1), settings())
    checkpointer._writer.wait()
    (tmp_path / "checkpoints").rename(tmp_path / "moved")
    with pytest.raises(UserError, match="step 1 was .*/1 is incomplete"):
        checkpointer.close()


def test_damage_of_all_checkpoints_is_an_error_and_changes_nothing(workdir):
    for step in (1, 2, 3):
        truncate(largest_file(workdir / "checkpoints" / str(step)))
    with pytest.raises(UserError, match="all checkpoints in .* are damaged"):
        Checkpointer(str(workdir), keep=3)
    assert {path.name for path in (workdir / "checkpoints").iterdir()} == {
        "1",
        "2",
        "3",
    }


def test_a_half_written_checkpoint_is_cleared_away(workdir):
    left = workdir / "checkpoints" / "4.orbax-checkpoint-tmp"
    (left / "variables").mkdir(parents=True)
    assert read.find_step(str(workdir)) == 3
    with Checkpointer(str(workdir), keep=3) as checkpointer:
        assert checkpointer.latest_step() == 3
        checkpointer.save(make_state(4), settings(), None)
    assert not left.exists()
    assert_equal(restore(workdir), make_state(4))


@pytest.mark.parametrize(
    "error, says",
    [
        (OSError("Forbidden: http://x/b/bucket/o\nno rights"), "failed (OSError: Forb"),
        (
            ValueError("NOT_FOUND [source='tensorstore/x.cc:1']"),
            "failed (ValueError: N",
        ),
        (
            ValueError("NOT_FOUND: Error writing 'x' in OCDBT database at local file"),
            "failed (ValueError: NOT_FOUND",
        ),
        (ValueError("File too large [tensorstore]"), "failed (no space)"),
    ],
)
def test_the_reason_of_a_failed_checkpoint_is_reported(error, says):
    assert checkpointer_lib._reason(error).startswith(says)
    assert checkpointer_lib._reason(ValueError("a bug: 1")) is None


def test_a_full_disk_is_named_and_spares_the_previous_checkpoint(tmp_path):
    command = ("tests/joined_tasks.py", "--task=fill_disk", f"--folder={tmp_path}")
    ((status, text),) = finish(start(*command), timeout_s=300)
    assert status == 2, text
    assert "failed (no space)" in text and "complete checkpoint: step 1" in text
    assert "Traceback" not in text
    assert_equal(restore(tmp_path), make_state(1))


def test_a_process_whose_write_failed_does_not_wait_for_others(monkeypatch):
    """Orbax meets them once more while the error is on its way."""
    met = []
    monkeypatch.setattr(
        orbax.ocp.multihost, "get_barrier_sync_fn", lambda: lambda **x: met.append(x)
    )
    orbax._wait_for_others(key="a", timeout_ms=5)
    with pytest.raises(OSError, match="full"):
        try:
            raise OSError("full")
        finally:
            orbax._wait_for_others(key="b", timeout_ms=5)
    assert met == [{"key": "a", "timeout_ms": 5}]


def test_a_failed_write_is_reported_once(tmp_path, monkeypatch):
    """Closing must not replace the reason by 'is incomplete'."""

    def fail():
        monkeypatch.setattr(writer._writer, "wait", lambda: None)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    writer = Checkpointer(str(tmp_path / "run"), 1)
    writer._writing = 4
    monkeypatch.setattr(writer._writer, "wait", fail)
    with pytest.raises(UnsavedError, match="no space"):
        writer.wait()
    writer.close()
