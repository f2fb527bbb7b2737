"""Fetching archives from a server on this machine: resumed, checked, told."""

import dataclasses
import hashlib
import pathlib

import file_server
import made_datasets
import pytest
from made_archives import pack

from encnet_jax.data import sets
from encnet_jax.data.prepare.__main__ import prepare
from encnet_jax.data.prepare.download import download
from encnet_jax.errors import UserError
from encnet_jax.weights import transfer

CONTENTS = bytes(range(256)) * 5000
SHA1 = hashlib.sha1(CONTENTS).hexdigest()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(transfer, "_PAUSE_SECONDS", 0.0)
    with file_server.serving({"a.zip": CONTENTS}) as server:
        yield server


def test_a_file_is_downloaded_once(server, tmp_path):
    for _ in range(2):
        path = download(server.address("a.zip"), tmp_path / "new", sha1=SHA1)
        assert pathlib.Path(path).read_bytes() == CONTENTS
    assert server.asked == [None]
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.zip"]


def test_a_broken_connection_is_reported_and_resumed(server, tmp_path):
    server.stop_after = 100_000  # Five attempts bring 500,000 bytes.
    with pytest.raises(UserError, match="run the same command to resume"):
        download(server.address("a.zip"), tmp_path, sha1=SHA1)
    assert (tmp_path / "a.zip.part").stat().st_size == 500_000
    server.stop_after = None
    download(server.address("a.zip"), tmp_path, sha1=SHA1)
    assert (tmp_path / "a.zip").read_bytes() == CONTENTS
    assert server.asked[0] is None
    assert server.asked[-1] == "bytes=500000-"
    assert not (tmp_path / "a.zip.part").exists()


def test_a_complete_part_is_only_verified(server, tmp_path):
    (tmp_path / "a.zip.part").write_bytes(CONTENTS)
    download(server.address("a.zip"), tmp_path, sha1=SHA1)
    assert (tmp_path / "a.zip").read_bytes() == CONTENTS


def test_a_file_with_another_checksum_is_refused(server, tmp_path):
    with pytest.raises(UserError, match=f"SHA-1 {SHA1}; expected 0000"):
        download(server.address("a.zip"), tmp_path, sha1="0000")
    assert not list(tmp_path.iterdir())
    (tmp_path / "a.zip").write_bytes(b"mine")
    with pytest.raises(UserError, match="a.zip: has SHA-1 .*remove the file"):
        download(server.address("a.zip"), tmp_path, sha1=SHA1)
    assert (tmp_path / "a.zip").read_bytes() == b"mine"


def test_a_missing_file_and_a_missing_server_are_reported(server, tmp_path):
    with pytest.raises(UserError, match="cannot download .*404"):
        download(server.address("b.zip"), tmp_path, sha1=SHA1)
    with pytest.raises(UserError, match="cannot download .*refused"):
        download("http://127.0.0.1:9/a.zip", tmp_path, sha1=SHA1)


@pytest.mark.tf
def test_a_data_set_is_downloaded_without_source(server, tmp_path, monkeypatch):
    made_datasets.ade20k(tmp_path)
    downloads = []
    for name in ("ADEChallengeData2016", "release_test"):
        pack(tmp_path, tmp_path / f"{name}.zip", name)
        contents = (tmp_path / f"{name}.zip").read_bytes()
        server.files[f"{name}.zip"] = contents
        sha1 = hashlib.sha1(contents).hexdigest()
        downloads.append((server.address(f"{name}.zip"), sha1))
    info = sets.named_info("ade20k")
    changed = dataclasses.replace(info, downloads=tuple(downloads))
    monkeypatch.setattr(
        "encnet_jax.data.prepare.__main__.named_info", lambda name: changed
    )
    counts = prepare("ade20k", source=None, data_dir=str(tmp_path / "data"))
    assert counts == {"train": 4, "val": 3, "test": 2}
    left = {p.name for p in (tmp_path / "data" / "downloads").iterdir()}
    assert left == {"ADEChallengeData2016.zip", "release_test.zip"}
