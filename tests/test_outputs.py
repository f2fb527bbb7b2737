"""Only files that are ours, or names that are free, are written to."""

import contextlib
import errno
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from etils import epath
from PIL import Image

from encnet_jax import config as config_lib
from encnet_jax import fields, pictures, storage
from encnet_jax.config import files
from encnet_jax.errors import UserError
from encnet_jax.pods import workdir as workdir_lib
from encnet_jax.storage import lookup, npz_file, outputs, schema
from encnet_jax.train import event_file


def test_a_file_gets_its_name_at_the_end_and_replaces_a_link(tmp_path):
    victim, path = tmp_path / "victim", tmp_path / "out.txt"
    victim.write_text("precious")
    path.symlink_to(victim)
    with storage.whole(path) as partial:
        assert partial.exists() and partial.read_bytes() == b""
        partial.write_text("new")
        assert path.read_text() == "precious"
    assert path.read_text() == "new" and not path.is_symlink()
    assert victim.read_text() == "precious"
    assert {p.name for p in tmp_path.iterdir()} == {"victim", "out.txt"}


def test_temporary_names_are_new_every_time_and_removed_after_a_failure(tmp_path):
    names = set()
    for _ in range(3):
        with pytest.raises(ValueError), storage.whole(tmp_path / "a") as partial:
            names.add(partial.name)
            raise ValueError
    assert len(names) == 3 and not list(tmp_path.iterdir())


def test_a_name_at_the_limit_of_the_file_system_can_be_written(tmp_path):
    path = tmp_path / ("x" * 255)
    storage.write_whole(path, "text")
    assert path.read_text() == "text"


CONFIG = json.dumps(dict.fromkeys(("data", "model", "loss", "optim", "train"), {}))


@pytest.mark.parametrize(
    "kind, content, ours",
    [
        ("configuration of a run", CONFIG, True),
        ("configuration of a run", '{"mine": 1}', False),
        ("configuration of a run", '{"library_name": "encnet_jax"}', False),
        ("configuration of a run", "", False),
        ("report", '{"rule": 1, "split": 1, "protocol": 1, "step": 1}', True),
        ("report", "[]", False),
        ("table of starts", '{"starts": []}', True),
        ("table of starts", "[" * 100_000, False),
        ("HTML report", "<!doctype html><html>mine", False),
        ("HTML report", f"<!doctype html>{outputs.HTML_MARK}", True),
        ("text of a sweep", f"{outputs.MARKDOWN_MARK}| a |", True),
        ("text of a sweep", "| a | b |", False),
        ("output", "anything", False),
    ],
)
def test_only_files_written_by_the_package_are_replaced(kind, content, ours, tmp_path):
    path = tmp_path / "file"
    outputs.check_replaceable(path, kind)
    path.write_text(content)
    if ours:
        outputs.check_replaceable(path, kind)
        return
    with pytest.raises(UserError, match=f"was not written by encnet_jax as a {kind}"):
        outputs.check_replaceable(path, kind, "--output")


def test_pictures_of_reports_are_marked_as_written_by_the_package(tmp_path):
    mine, ours = tmp_path / "mine.png", tmp_path / "ours.png"
    Image.new("RGB", (8, 8)).save(mine)
    pictures.save_png(ours, Image.new("RGB", (8, 8)))
    outputs.check_replaceable(ours, "picture")
    with pytest.raises(UserError, match="mine.png exists and was not"):
        outputs.check_replaceable(mine, "picture")


def test_special_files_are_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path, word in ((tmp_path / "fifo", "FIFO"), (tmp_path, "a folder")):
        with pytest.raises(UserError, match=word):
            outputs.check_replaceable(path, "report")
        with pytest.raises(UserError, match=word):
            storage.read_bytes(path)
    with pytest.raises(UserError, match="/dev/zero is a device"):
        storage.read_bytes("/dev/zero")


def test_a_file_beyond_the_limit_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "large"
    path.touch()
    os.truncate(path, 20 << 30)
    with pytest.raises(UserError, match="has 21,474,836,480 bytes; expected at most"):
        storage.read_bytes(path, 1 << 20)


def test_nested_json_is_refused(tmp_path):
    (tmp_path / "a.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="not a complete JSON file .nested too deeply"):
        storage.read_json(tmp_path / "a.json")


@pytest.mark.parametrize("name", ["config.json", "time.json", "scalars.csv"])
def test_a_run_refuses_a_folder_with_files_of_its_names(name, tmp_path):
    (tmp_path / name).write_text('{"mine": 1}')
    with pytest.raises(UserError, match=f"{name} exists .* \\(--workdir\\)"):
        with workdir_lib.locked(str(tmp_path)):
            pass
    assert {path.name for path in tmp_path.iterdir()} == {name}


@pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
def test_a_lock_that_is_not_a_file_is_refused(kind, tmp_path):
    victim, lock = tmp_path / "victim", tmp_path / "run" / ".lock"
    lock.parent.mkdir()
    victim.write_text("precious")
    if kind == "link":
        lock.symlink_to(victim)
    elif kind == "fifo":
        os.mkfifo(lock)
    else:
        lock.mkdir()
    with pytest.raises((UserError, OSError)):
        with workdir_lib.locked(str(lock.parent)):
            pass
    assert victim.read_text() == "precious"


def test_a_lock_keeps_its_contents(tmp_path):
    (tmp_path / ".lock").write_text("mine")
    with workdir_lib.locked(str(tmp_path)):
        config = config_lib.resolve(
            config_lib.load("configs/quickstart.py"), config_lib.Facts(400)
        )
        workdir_lib.save_config(str(tmp_path), config)
    assert (tmp_path / ".lock").read_text() == "mine"
    with workdir_lib.locked(str(tmp_path)):  # Its own configuration is no obstacle.
        pass


def test_errors_without_a_number_keep_their_words(tmp_path):
    """As Pillow raises them: with a file name added they would print [Errno None]."""
    with pytest.raises(OSError) as raised, storage.whole(tmp_path / "a.png"):
        raise OSError("cannot write mode X as PNG")
    assert storage.describe(raised.value, "a.png").startswith(
        "a.png: cannot write mode X as PNG; "
    )
    with pytest.raises(OSError) as raised, storage.whole(tmp_path / "a.png"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert storage.describe(raised.value).startswith(f"{tmp_path / 'a.png'}: No space")
    assert "None" not in storage.describe(OSError())


@pytest.mark.parametrize(
    "error, says",
    [
        (RuntimeError("x: No space left on device [array_record]"), "free some space"),
        (OSError(errno.EACCES, "Permission denied"), "Permission denied"),
        (ValueError("a bug"), None),
    ],
)
def test_failed_writes_of_libraries_are_explained(error, says):
    found = storage.failed_write(error)
    assert found is None if says is None else says in found


def test_invalid_characters_are_written_with_escapes(tmp_path):
    storage.write_whole(tmp_path / "a", "x\udcff")
    assert (tmp_path / "a").read_text() == "x\\udcff"


@pytest.mark.parametrize("there", [True, False])
def test_scalars_are_not_appended_through_a_link(there, tmp_path):
    victim, table = tmp_path / "victim", tmp_path / "run" / "scalars.csv"
    table.parent.mkdir()
    table.symlink_to(victim)
    if there:
        victim.write_text("mine")
    with contextlib.closing(event_file.EventFile(str(table.parent))) as file:
        file.scalar(3, "train/loss", 0.5)
    assert table.read_text() == "step,name,value\n3,train/loss,0.5\n"
    assert victim.exists() == there and (not there or victim.read_text() == "mine")


def test_a_name_that_was_taken_meanwhile_is_not_replaced(tmp_path):
    path = tmp_path / "x.html"
    outputs.write(path, "HTML report", f"<!doctype html>{outputs.HTML_MARK}")
    outputs.write(path, "HTML report", f"<!doctype html>{outputs.HTML_MARK}2")
    assert path.read_text().endswith("2")
    path.write_text("mine")
    with pytest.raises(UserError, match="x.html exists .* choose another.*--output"):
        outputs.write(path, "HTML report", "new", "--output")
    assert path.read_text() == "mine"


def test_several_files_are_written_together_or_not_at_all(tmp_path):
    for error in (KeyboardInterrupt, UserError):
        with pytest.raises(error), outputs.all_or_none() as written:
            for name in ("a", "b"):
                storage.write_whole(tmp_path / name, "text")
                written.append(tmp_path / name)
            raise error
        assert not list(tmp_path.iterdir())
    with outputs.all_or_none() as written:
        storage.write_whole(tmp_path / "a", "text")
        written.append(tmp_path / "a")
    assert (tmp_path / "a").exists()


def test_a_configuration_is_not_copied_through_a_link(tmp_path):
    (tmp_path / "mine.py").symlink_to(tmp_path / "nowhere")
    files.copy("quickstart", str(tmp_path / "mine.py"))
    assert not (tmp_path / "nowhere").exists()
    assert "get_config" in (tmp_path / "mine.py").read_text()


def test_only_files_that_can_be_read_are_offered_as_configurations(
    tmp_path, monkeypatch
):
    (tmp_path / "configs").mkdir()
    os.mkfifo(tmp_path / "configs/fifo.py")
    (tmp_path / "configs/folder.py").mkdir()
    (tmp_path / "configs/mine.py").write_text("def get_config(words=''): ...")
    monkeypatch.chdir(tmp_path)
    found = files.named()
    assert found["mine"] == pathlib.Path("configs/mine.py")
    assert "fifo" not in found and "quickstart" in found


def test_very_long_integers_are_refused():
    """Python's json reads them, and math.isfinite raises an error for them."""
    for value in (10**400, -(10**400), float("nan"), float("inf"), True):
        assert schema.number()(value).startswith("is ")
        assert not fields.between(0, 10**500).fits(value)
    assert schema.number(0, 1)(0.5) is None and fields.between(0, 1).fits(1)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE])
def test_a_file_that_cannot_be_looked_at_is_not_called_missing(
    number, tmp_path, monkeypatch
):
    def stat(path, **options):
        raise OSError(number, os.strerror(number), path)

    monkeypatch.setattr(os, "stat", stat)
    for question in (lookup.exists, lookup.is_folder):
        with pytest.raises(UserError, match=f"{tmp_path}: {os.strerror(number)}"):
            question(tmp_path)


@pytest.mark.parametrize("name", ["none", "file/in", "loop", "a\0b", "x" * 999])
def test_files_that_do_not_exist(name, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    assert not lookup.exists(tmp_path / name)
    assert not lookup.is_folder(tmp_path / name)
    assert lookup.exists(tmp_path / "file") and lookup.is_folder(tmp_path)
    assert not lookup.is_folder(tmp_path / "file")


def test_the_size_of_a_file_needs_no_name_of_its_owner(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"123")
    monkeypatch.delattr("pwd.getpwuid")
    assert lookup.size_of(epath.Path(tmp_path / "file")) == 3


def test_all_names_in_a_folder_are_listed(tmp_path):
    folder = tmp_path / "a[1]*"  # glob would take it as a pattern.
    folder.mkdir()
    for name in ("b.json", "a.json", "c~", ".json"):
        (folder / name).touch()
    assert [x.name for x in lookup.entries(folder)] == sorted(os.listdir(folder))
    found = [x.name for x in lookup.matching(folder, "?*.json")]
    assert found == ["a.json", "b.json"]
    assert lookup.matching(tmp_path / "none", "*") == []


def test_a_full_disk_leaves_no_half_arrays_and_prints_nothing(tmp_path):
    text = f"""
import signal, numpy as np
from encnet_jax.storage import npz_file
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
arrays = {{"a": np.random.default_rng(0).random(9999), "b": np.ones(3)}}
try:
    npz_file.write({str(tmp_path / "a.npz")!r}, arrays, compressed=True)
except OSError as error:
    print(error)
"""
    words = ["bash", "-c", 'ulimit -f 1; exec "$@"', "_", sys.executable, "-c", text]
    ended = subprocess.run(words, capture_output=True, text=True)
    assert (ended.stdout, ended.stderr) == (
        f"[Errno 27] File too large: '{tmp_path / 'a.npz'}'\n",
        "",
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("compressed", [False, True])
def test_arrays_are_written_as_numpy_reads_them(compressed, tmp_path):
    arrays = {"ids": np.asarray(["a", "b"]), "x": np.arange(6.0).reshape(2, 3)}
    npz_file.write(tmp_path / "a.npz", arrays, compressed=compressed)
    with np.load(tmp_path / "a.npz") as found:
        assert list(found) == ["ids", "x"]
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array, strict=True)
