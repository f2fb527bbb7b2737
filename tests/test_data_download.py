"""Fetching archives from a server on this machine: resumed, checked, told."""

import dataclasses
import hashlib
import http.server
import pathlib
import threading

import made_datasets
import pytest
from test_data_sets import pack

from encnet_jax.data.prepare.__main__ import prepare
from encnet_jax.data.prepare.download import download
from encnet_jax.data.sets import catalogue
from encnet_jax.errors import UserError

CONTENTS = bytes(range(256)) * 5000
SHA1 = hashlib.sha1(CONTENTS).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves files from memory and notes which bytes were asked for."""

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.asked = files, []
        self.ranges, self.stop_after = True, None

    def address(self, name):
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        contents = self.server.files.get(self.path[1:])
        asked = self.headers["Range"] if self.server.ranges else None
        self.server.asked.append(self.headers["Range"])
        if contents is None:
            return self.send_error(404)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if start and start >= len(contents):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(contents) - start))
        self.end_headers()
        self.wfile.write(contents[start : self.server.stop_after])

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with Server({"a.zip": CONTENTS}) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_a_file_is_fetched_once(server, tmp_path):
    for _ in range(2):
        path = download(server.address("a.zip"), tmp_path / "new", sha1=SHA1)
        assert pathlib.Path(path).read_bytes() == CONTENTS
    assert server.asked == [None]
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.zip"]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_connection_is_told_and_resumed(server, tmp_path, ranges):
    server.stop_after, server.ranges = 300_000, ranges
    with pytest.raises(UserError, match="run the same command to go on"):
        download(server.address("a.zip"), tmp_path, sha1=SHA1)
    assert (tmp_path / "a.zip.part").stat().st_size == 300_000
    server.stop_after = None
    download(server.address("a.zip"), tmp_path, sha1=SHA1)
    assert (tmp_path / "a.zip").read_bytes() == CONTENTS
    assert server.asked == [None, "bytes=300000-"]
    assert not (tmp_path / "a.zip.part").exists()


def test_a_whole_part_is_only_checked(server, tmp_path):
    (tmp_path / "a.zip.part").write_bytes(CONTENTS)
    download(server.address("a.zip"), tmp_path, sha1=SHA1)
    assert (tmp_path / "a.zip").read_bytes() == CONTENTS


def test_another_file_than_wanted_is_refused(server, tmp_path):
    with pytest.raises(UserError, match=f"SHA-1 {SHA1}, wanted 0000"):
        download(server.address("a.zip"), tmp_path, sha1="0000")
    assert not list(tmp_path.iterdir())
    (tmp_path / "a.zip").write_bytes(b"mine")
    with pytest.raises(UserError, match="a.zip: has SHA-1 .*remove it"):
        download(server.address("a.zip"), tmp_path, sha1=SHA1)
    assert (tmp_path / "a.zip").read_bytes() == b"mine"


def test_no_such_file_and_no_server_are_told(server, tmp_path):
    with pytest.raises(UserError, match="cannot be fetched .*404"):
        download(server.address("b.zip"), tmp_path, sha1=SHA1)
    with pytest.raises(UserError, match="cannot be fetched .*refused"):
        download("http://127.0.0.1:9/a.zip", tmp_path, sha1=SHA1)


def test_a_data_set_is_downloaded_where_no_source_is_named(
    server, tmp_path, monkeypatch
):
    made_datasets.ade20k(tmp_path)
    downloads = []
    for name in ("ADEChallengeData2016", "release_test"):
        pack(tmp_path, tmp_path / f"{name}.zip", name)
        contents = (tmp_path / f"{name}.zip").read_bytes()
        server.files[f"{name}.zip"] = contents
        sha1 = hashlib.sha1(contents).hexdigest()
        downloads.append((server.address(f"{name}.zip"), sha1))
    info = catalogue.named_info("ade20k")
    changed = dataclasses.replace(info, downloads=tuple(downloads))
    monkeypatch.setattr(
        "encnet_jax.data.prepare.__main__.named_info", lambda name: changed
    )
    counts = prepare("ade20k", source=None, data_dir=str(tmp_path / "data"))
    assert counts == {"train": 4, "val": 3, "test": 2}
    left = {p.name for p in (tmp_path / "data" / "downloads").iterdir()}
    assert left == {"ADEChallengeData2016.zip", "release_test.zip"}
