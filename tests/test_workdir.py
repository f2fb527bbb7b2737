"""The folder of a run: locked, claimed by one configuration, removed if refused."""

import contextlib
import json

import pytest

from encnet_jax import config as config_lib
from encnet_jax.errors import NotFiniteError, UserError
from encnet_jax.pods import parallel
from encnet_jax.pods import workdir as workdir_lib


def resolved(**fields):
    config = config_lib.load("configs/quickstart.py:smoke")
    config.update_from_flattened_dict(fields)
    return config_lib.resolve(config, config_lib.Facts(400))


def test_a_refused_run_leaves_no_folder(tmp_path):
    run = tmp_path / "runs" / "a"
    with pytest.raises(UserError, match="not such weights"):
        with workdir_lib.locked(str(run)):
            workdir_lib.claim(str(run), resolved())
            (run / "checkpoints").mkdir()
            raise UserError("not such weights")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a[1]", "a[b]c/run"])
def test_a_workdir_with_brackets_is_refused(tmp_path, name):
    with pytest.raises(UserError, match="contains brackets, .* without brackets"):
        with workdir_lib.locked(str(tmp_path / name)):
            pass
    assert list(tmp_path.iterdir()) == []
    with workdir_lib.locked(str(tmp_path / "a[1*?")):
        pass


def test_a_folder_that_was_deleted_does_not_hide_the_error(tmp_path):
    run = tmp_path / "a"
    with pytest.raises(UserError, match="was deleted"):
        with workdir_lib.locked(str(run)):
            (run / ".lock").unlink()
            run.rmdir()
            raise UserError("the workdir was deleted")
    assert not run.exists()


def test_folders_of_started_runs_and_existing_folders_are_kept(tmp_path):
    run = tmp_path / "a"
    with pytest.raises(NotFiniteError):
        with workdir_lib.locked(str(run)):
            (run / "events").write_text("scalars")
            raise NotFiniteError("NaN")
    assert (run / "events").exists()
    (tmp_path / "b").mkdir()
    with pytest.raises(UserError):
        with workdir_lib.locked(str(tmp_path / "b")):
            raise UserError("refused")
    assert (tmp_path / "b").exists()


def test_of_two_runs_that_start_at_once_the_refused_one_removes_nothing(
    tmp_path, monkeypatch
):
    folder, real, first = (
        tmp_path / "run",
        workdir_lib.check_ours,
        contextlib.ExitStack(),
    )

    def other_starts(path):  # The folder was new for both, and the other one is faster.
        monkeypatch.setattr(workdir_lib, "check_ours", real)
        first.enter_context(workdir_lib.locked(path))
        (folder / "config.json").write_text("{}")

    monkeypatch.setattr(workdir_lib, "check_ours", other_starts)
    with first, pytest.raises(UserError, match="another run is using"):
        with workdir_lib.locked(str(folder)):
            pass
    assert {path.name for path in folder.iterdir()} == {".lock", "config.json"}


def test_a_claim_saves_the_configuration(tmp_path):
    config = resolved(**{"optim.base_lr": 0.25})
    workdir_lib.claim(str(tmp_path), config)
    saved = config_lib.from_dict(json.loads((tmp_path / "config.json").read_text()))
    assert config_lib.first_difference(saved, config) is None
    workdir_lib.claim(str(tmp_path), config, saved)  # Resumes.


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"train.batch_size": 12}, "train.batch_size is 12; expected a multiple of 8"),
        ({"train.accumulate": 2}, "expected a multiple of 16 .8 devices x train.accum"),
        (
            {"model.norm_group": 3},
            "expected 0 .one group of all devices. or a divisor of .*: 1, 2, 4, 8",
        ),
        ({"optim.momentum": 0.5}, "optim.momentum was 0.9 and is now 0.5; choose anot"),
    ],
)
def test_a_refused_claim_writes_nothing(tmp_path, fields, message):
    saved = config_lib.opened(resolved())
    with pytest.raises(UserError, match=message):
        workdir_lib.claim(str(tmp_path), resolved(**fields), saved)
    assert list(tmp_path.iterdir()) == []


def test_compiled_programs_are_cached_where_nobody_else_can_write(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    chosen = []
    monkeypatch.setattr(
        parallel.jax.config, "update", lambda *field: chosen.append(field)
    )
    parallel.enable_compilation_cache()
    folder = tmp_path / ".cache/encnet_jax/compiled"
    assert chosen == [("jax_compilation_cache_dir", str(folder))]
    assert folder.stat().st_mode & 0o777 == 0o700
