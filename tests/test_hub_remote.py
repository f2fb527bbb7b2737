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
from encnet_jax.tasks import folder as folder_lib

pytest.importorskip("huggingface_hub", reason="requirements/export.txt")

# In a process of its own, because the package reads the addresses when it is imported.
SESSION = """
import sys
import numpy as np
import encnet_jax
from encnet_jax import cli
from encnet_jax.export.__main__ import main

workdir, folder = sys.argv[1:]
words = ["export", "--format=hub", f"--workdir={workdir}"]
for name in ("n", "refused"):
    words[3:] = [f"--output={folder}/{name}", f"--push=o/{name}"]
    print("status", cli.run(main, words))
image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
np.save(f"{folder}/labels.npy", encnet_jax.load("hf:o/n")(image).labels)
print("status", cli.run(lambda _: encnet_jax.load("hf:o/absent"), []))
"""


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """Yields a run, the folder and the output of SESSION, and the server's state."""
    folder = tmp_path_factory.mktemp("hub")
    untrained.save(folder / "run")
    with fake_hub.serving() as hub:
        variables = os.environ | {
            "HF_ENDPOINT": hub.address,
            "HF_HOME": str(folder / "hf"),
            "HF_TOKEN": "hf_test",
            "HF_HUB_DISABLE_XET": "1",
        }
        done = subprocess.run(
            [sys.executable, "-c", SESSION, str(folder / "run"), str(folder)],
            env=variables,
            capture_output=True,
            text=True,
            cwd=os.path.dirname(os.path.dirname(__file__)),
        )
        assert done.returncode == 0, done.stderr[-2000:]
        yield folder, done, hub


def statuses(done):
    return [x.split()[1] for x in done.stdout.splitlines() if x.startswith("status")]


def test_a_network_is_uploaded_and_loaded_by_name(session):
    folder, done, hub = session
    assert statuses(done)[0] == "0"
    assert f"uploaded to {hub.address}/o/n" in done.stdout
    assert hub.files.keys() == {"README.md", "config.json", "model.safetensors"}
    assert hub.files["model.safetensors"] == (
        (folder / "n" / "model.safetensors").read_bytes()
    )
    assert b'encnet_jax.load("hf:OWNER/NAME")' in hub.files["README.md"]
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    expected = encnet_jax.load(folder / "run")(image).labels
    np.testing.assert_array_equal(np.load(folder / "labels.npy"), expected)
    assert not any("README" in x for x in hub.requests if "/resolve/" in x)


def test_refusals_are_one_line_and_keep_the_folder(session):
    folder, done, _ = session
    assert statuses(done)[1:] == ["2", "2"]
    assert done.stderr.count("error: ") == 2 and "Traceback" not in done.stderr
    assert "was written, but cannot be uploaded to o/refused: " in done.stderr
    assert folder_lib.is_one(folder / "refused")
    assert "error: hf:o/absent cannot be downloaded: " in done.stderr


def test_a_missing_huggingface_hub_is_reported_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match="hf:o/n requires the package huggingface_hub"):
        encnet_jax.load("hf:o/n")
