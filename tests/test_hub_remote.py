"""A network on Hugging Face: uploaded, and loaded by name, from a server here."""

import os
import subprocess
import sys

import fake_hub
import numpy as np
import pytest
import untrained

import encnet_jax
from encnet_jax.errors import UserError
from encnet_jax.tasks import folder

pytest.importorskip("huggingface_hub", reason="requirements/export.txt")

LOAD = """
import sys
import numpy as np
import encnet_jax
model = encnet_jax.load("hf:o/n")
image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
np.save(sys.argv[1], model(image).labels)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "untrained"
    untrained.save(workdir)
    return workdir


@pytest.fixture
def hub():
    with fake_hub.serving() as hub:
        yield hub


def call(hub, tmp_path, *words):
    """Runs Python in a process of its own: the addresses are read at import."""
    variables = os.environ | {
        "HF_ENDPOINT": hub.address,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_TOKEN": "hf_test",
        "HF_HUB_DISABLE_XET": "1",
    }
    return subprocess.run(
        [sys.executable, *map(str, words)],
        env=variables,
        capture_output=True,
        text=True,
        cwd=os.path.dirname(os.path.dirname(__file__)),
    )


def test_a_network_is_uploaded_and_loaded_by_name(run, hub, tmp_path):
    export = ("-m", "encnet_jax.export", "--format=hub", "--push=o/n")
    output = f"--output={tmp_path / 'net'}"
    done = call(hub, tmp_path, *export, f"--workdir={run}", output)
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"uploaded it: {hub.address}/o/n" in done.stdout
    assert hub.files.keys() == {"README.md", "config.json", "model.safetensors"}
    assert hub.files["model.safetensors"] == (
        (tmp_path / "net" / "model.safetensors").read_bytes()
    )
    assert b'encnet_jax.load("hf:OWNER/NAME")' in hub.files["README.md"]

    done = call(hub, tmp_path, "-c", LOAD, tmp_path / "labels.npy")
    assert done.returncode == 0, done.stderr[-2000:]
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    expected = encnet_jax.load(run)(image).labels
    np.testing.assert_array_equal(np.load(tmp_path / "labels.npy"), expected)
    assert not any("README" in x for x in hub.requests if "/resolve/" in x)

    # A refusal keeps the folder and is one line.
    hub.refuse = 401
    output = f"--output={tmp_path / 'again'}"
    done = call(hub, tmp_path, *export, f"--workdir={run}", output)
    assert done.returncode == 2
    assert done.stderr.count("error: ") == 1 and "Traceback" not in done.stderr
    assert "was written, but cannot be uploaded to o/n: " in done.stderr
    assert folder.is_one(tmp_path / "again")


def test_what_cannot_be_downloaded_is_one_line(hub, tmp_path):
    hub.refuse = 404
    code = "from encnet_jax import cli, load; cli.run(lambda _: load('hf:o/n'), [])"
    done = call(hub, tmp_path, "-c", code)
    assert "error: hf:o/n cannot be downloaded: " in done.stderr
    assert "Traceback" not in done.stderr


def test_without_the_package_there_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match="hf:o/n needs huggingface_hub: pip install"):
        encnet_jax.load("hf:o/n")
