"""Weight files: what is read, what is refused, and that nothing in them is run."""

import pathlib
import sys
import zipfile

import numpy as np
import pytest
import safetensors

from encnet_jax.errors import UserError
from encnet_jax.torch_weights import read_state_dict, write_state_dict

WEIGHTS = {
    "conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "bn.num_batches_tracked": np.asarray(7, np.int64),
}


@pytest.fixture
def torch():
    return pytest.importorskip(
        "torch", reason="PyTorch is an extra: requirements/torch.txt"
    )


def assert_weights(found):
    assert found.keys() == WEIGHTS.keys()
    for name, array in WEIGHTS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_safetensors_round_trip_without_pytorch(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # Importing it raises ImportError.
    path = tmp_path / "weights.safetensors"
    write_state_dict(path, WEIGHTS)
    assert_weights(read_state_dict(path))
    with safetensors.safe_open(path, "numpy") as file:
        assert file.metadata() == {"format": "pt"}


@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "legacy"])
def test_pytorch_files_are_read(tmp_path, torch, monkeypatch, new_format):
    path = tmp_path / "weights.pth"
    tensors = {name: torch.from_numpy(x) for name, x in WEIGHTS.items()}
    checkpoint = {"epoch": 3, "state_dict": tensors}
    torch.save(checkpoint, path, _use_new_zipfile_serialization=new_format)
    monkeypatch.setitem(sys.modules, "torch", None)
    found = read_state_dict(path)
    assert found["epoch"] == 3
    assert_weights(found["state_dict"])


def test_a_zip_of_a_pytorch_file_is_read(tmp_path, torch):
    write_state_dict(tmp_path / "encnet.pth", WEIGHTS)
    path = tmp_path / "encnet.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(tmp_path / "encnet.pth", "encnet-26f4d0f6.pth")
    assert_weights(read_state_dict(path))
    with zipfile.ZipFile(path, "a") as archive:
        archive.write(tmp_path / "encnet.pth", "another.pth")
    with pytest.raises(UserError, match="expected exactly one .pth or .pt file"):
        read_state_dict(path)


def test_half_precision_becomes_single(tmp_path, torch):
    import safetensors.torch

    path = tmp_path / "weights.pth"
    torch.save({"weight": torch.full((3,), 1.5, dtype=torch.bfloat16)}, path)
    other = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(torch.load(path), other)
    for file in (path, other):
        found = read_state_dict(file)["weight"]
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, 1.5)


class Trap:
    """Writes a file when a pickle that holds it is loaded carelessly."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (self.path,)


@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "legacy"])
def test_code_in_a_file_is_not_run(tmp_path, torch, new_format):
    path, sprung = tmp_path / "weights.pth", tmp_path / "sprung"
    checkpoint = {"state_dict": {}, "hook": Trap(sprung)}
    torch.save(checkpoint, path, _use_new_zipfile_serialization=new_format)
    message = "getattr, which could run code; expected only arrays"
    with pytest.raises(UserError, match=message):
        read_state_dict(path)
    assert not sprung.exists()
    torch.load(path, weights_only=False)
    assert sprung.exists()  # The trap works.


def test_without_pytorch_its_files_are_not_written(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    path = tmp_path / "weights.pth"
    path.write_bytes(b"anything")
    with pytest.raises(UserError, match="pip install -r requirements/torch.txt"):
        write_state_dict(tmp_path / "out.pth", WEIGHTS)
    assert [p.name for p in tmp_path.iterdir()] == ["weights.pth"]


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pth", "weights.zip"])
def test_broken_files_are_refused(tmp_path, torch, name):
    path = tmp_path / name
    with pytest.raises(UserError, match="no file"):
        read_state_dict(path)
    path.write_bytes(b"\x01" * 100)
    with pytest.raises(UserError, match=name):
        read_state_dict(path)
    if name != "weights.zip":
        path.unlink()
        write_state_dict(path, WEIGHTS)
        path.write_bytes(path.read_bytes()[:-60])
        with pytest.raises(UserError, match=name):
            read_state_dict(path)


def test_other_pytorch_files_are_refused(tmp_path, torch):
    path = tmp_path / "weights.pth"
    torch.save([1, 2], path)
    with pytest.raises(UserError, match="contains a list; expected a state dict"):
        read_state_dict(path)


def test_refused_and_failed_writes_leave_no_changed_file(tmp_path, monkeypatch):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"precious")
    with pytest.raises(UserError, match="exists already"):
        write_state_dict(path, WEIGHTS)
    assert path.read_bytes() == b"precious"
    with pytest.raises(UserError, match="unsupported suffix; expected .safetensors"):
        write_state_dict(tmp_path / "weights.npz", WEIGHTS)
    with pytest.raises(UserError, match="the folder .*missing does not exist"):
        write_state_dict(tmp_path / "missing" / "weights.safetensors", WEIGHTS)
    with pytest.raises(Exception, match="object"):
        write_state_dict(
            tmp_path / "other.safetensors", {"x": np.asarray([None], object)}
        )
    assert [p.name for p in tmp_path.iterdir()] == ["weights.safetensors"]
