"""PyTorch's files read without PyTorch: equal bits, wrappers, and refusals."""

import argparse
import collections
import io
import pickle
import sys
import zipfile

import numpy as np
import pytest

from encnet_jax.errors import UserError
from encnet_jax.torch_weights import files, pickled, pickled_legacy, state_dicts

torch = pytest.importorskip(
    "torch", reason="writes the files; an extra: requirements/torch.txt"
)

DTYPES = (
    "float16 bfloat16 float32 float64 int8 int16 int32 int64 uint8 bool complex64"
).split()
SD = {"conv.weight": torch.arange(6.0).reshape(2, 3), "bn.bias": torch.ones(2)}


@pytest.fixture(params=[True, False], ids=["zip", "legacy"])
def saved(tmp_path, monkeypatch, request):
    """Returns a function: saves an object, and reads it as if PyTorch were absent."""

    def save_and_read(value, name="weights.pth"):
        torch.save(value, tmp_path / name, _use_new_zipfile_serialization=request.param)
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "torch", None)
            return files.read_state_dict(tmp_path / name)

    return save_and_read


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_are_bit_equal_to_pytorchs(saved, dtype):
    x = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0)) * 50
    x = x.to(getattr(torch, dtype))
    tensors = {
        "plain": x,
        "transposed": x.permute(2, 0, 1),
        "view": x[1:, ::2],
        "expanded": x[:1].expand(7, 4, 5),
        "scalar": x[0, 0, 0],
        "empty": x[:0],
        "channels_last": x[None].to(memory_format=torch.channels_last),
    }
    found = saved(tensors)
    assert list(found) == list(tensors)
    for name, tensor in tensors.items():
        expected = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
        assert found[name].dtype == expected.dtype
        assert found[name].shape == expected.shape
        assert found[name].tobytes() == expected.tobytes()


def test_plain_values_next_to_the_weights_are_read(saved):
    hyper = {"lr": 0.1, "names": ["a", ("b", None)], "steps": {3}}
    found = saved(
        {
            "state_dict": collections.OrderedDict(SD),
            "best_pred": np.float64(0.41),
            "iter": np.int64(7),
            "array": np.arange(6, dtype=">i2").reshape(2, 3, order="F"),
            "size": torch.Size([2, 3]),
            "weight": torch.nn.Parameter(torch.ones(2)),
            "hyper": hyper,
        }
    )
    assert found["best_pred"] == 0.41
    assert found["iter"] == 7
    np.testing.assert_array_equal(found["array"], [[0, 2, 4], [1, 3, 5]])
    assert found["size"] == [2, 3]
    np.testing.assert_array_equal(found["weight"], 1)
    assert found["hyper"] == hyper | {"names": ["a", ["b", None]], "steps": [3]}
    np.testing.assert_array_equal(found["state_dict"]["conv.weight"], SD["conv.weight"])


def prefixed(prefix):
    return {prefix + name: x for name, x in SD.items()}


@pytest.mark.parametrize(
    "content",
    [
        {"state_dict": SD, "epoch": 3, "optimizer": {"state": {}}},
        {"model_state_dict": SD, "epoch": 3},
        {"net": SD},
        {"model": {"state_dict": prefixed("module.")}},
        prefixed("_orig_mod.module."),
        prefixed("module._orig_mod."),
        {"state_dict": prefixed("model.net.")},
        {"state_dict": SD, "ema": {"conv.weight": torch.zeros(1)}},
        {"ema": SD, "best": np.float64(0.5)},
        SD | {"best": np.float64(0.5)},
    ],
    ids=lambda content: ",".join(content)[:40],
)
def test_wrappers_and_prefixes_are_removed(saved, content):
    found = state_dicts.unwrap(saved(content))
    assert {n for n, x in found.items() if x.shape} == SD.keys()
    np.testing.assert_array_equal(found["conv.weight"], SD["conv.weight"])


def test_averaged_weights_are_taken_on_request(tmp_path):
    path = tmp_path / "both.pth"
    torch.save({"state_dict": SD, "ema": {"x": torch.full((2,), 5.0)}}, path)
    assert state_dicts.read(path).keys() == SD.keys()
    assert state_dicts.read(f"{path}#ema").keys() == {"x"}
    torch.save({"state_dict": SD}, path)
    with pytest.raises(UserError, match="no averaged weights"):
        state_dicts.read(f"{path}#ema")


def test_hidden_files_of_macos_are_ignored(tmp_path):
    torch.save(SD, tmp_path / "encnet.pth")
    with zipfile.ZipFile(tmp_path / "weights.zip", "w") as archive:
        archive.write(tmp_path / "encnet.pth", "folder/encnet.pth")
        archive.writestr("__MACOSX/folder/._encnet.pth", b"\0\5\26\7")
    assert state_dicts.read(tmp_path / "weights.zip").keys() == SD.keys()


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (argparse.Namespace(lr=0.1), "argparse.Namespace"),
        (torch.nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
        (torch.ones(2, device="meta"), "torch._utils._rebuild_meta_tensor"),
        (np.asarray([None, 1], object), "numpy.dtype"),
        (torch.float32, "torch.float32"),
    ],
    ids=["namespace", "module", "meta", "objects", "dtype"],
)
def test_other_objects_are_refused_by_name(saved, value, name):
    with pytest.raises(UserError, match=f"contains {name}.*could run code"):
        saved({"state_dict": SD, "extra": value})


class Chosen(pickle.Pickler):
    """Writes storages as persistent ids, as torch.save does."""

    def persistent_id(self, obj):
        return obj.pid if isinstance(obj, Pid) else None


class Pid:
    def __init__(self, *pid):
        self.pid = pid


class Call:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


def archive_of(value, data=bytes(16)):
    stream = io.BytesIO()
    Chosen(stream, 2).dump(value)
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr("x/data.pkl", stream.getvalue())
        archive.writestr("x/data/0", data)
    return zipfile.ZipFile(written)


STORAGE = Pid("storage", torch.FloatStorage, "0", "cpu", 4)
REBUILD = torch._utils._rebuild_tensor_v2


def tensor(offset, shape, strides):
    return Call(REBUILD, STORAGE, offset, shape, strides, False, {})


def test_a_tensor_within_its_storage_is_read():
    content = archive_of(tensor(1, (3,), (1,)), np.arange(4, dtype="<f4").tobytes())
    np.testing.assert_array_equal(pickled.load(content), [1, 2, 3])


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (0, (5,), (1,)),
        (4, (1,), (1,)),
        (0, (2, 2), (3, 2)),
        (3, (2,), (-1,)),
        (-1, (2,), (1,)),
        (0, (2, 2), (1,)),
        (0, (1 << 40,), (0,)),
    ],
)
def test_tensors_beyond_their_storage_are_refused(offset, shape, strides):
    with pytest.raises(
        pickle.UnpicklingError,
        match="tensor (of impossible shape|extends beyond the end of its storage)",
    ):
        pickled.load(archive_of(tensor(offset, shape, strides)))


@pytest.mark.parametrize(
    "target", ["torch._utils\n_rebuild_tensor_v2", "numpy\ndtype", "torch\nSize"]
)
def test_a_file_cannot_change_the_reader(target):
    state = b"(N}(X\x09\x00\x00\x00_functionNut"  # (None, {"_function": None})
    attack = b"\x80\x02c" + target.encode() + b"\n" + state + b"b."
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr("x/data.pkl", attack)
    with pytest.raises((pickle.UnpicklingError, TypeError)):
        pickled.load(zipfile.ZipFile(written))
    content = archive_of(tensor(0, (4,), (1,)))
    np.testing.assert_array_equal(pickled.load(content), 0)


def test_shared_containers_do_not_take_exponential_time():
    value = {"x": 1}
    for _ in range(60):
        value = {"a": value, "b": value}
    found = pickled.load(archive_of(value))
    assert found["a"] is found["b"]
    assert files._single_precision(found)["a"]["b"]["a"].keys() == {"a", "b"}


def test_big_endian_files_are_read():
    written = io.BytesIO()
    stream = io.BytesIO()
    Chosen(stream, 2).dump(tensor(0, (4,), (1,)))
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr("x/data.pkl", stream.getvalue())
        archive.writestr("x/byteorder", b"big")
        archive.writestr("x/data/0", np.arange(4, dtype=">f4").tobytes())
    np.testing.assert_array_equal(
        pickled.load(zipfile.ZipFile(written)), np.arange(4, dtype=np.float32)
    )


def test_bool_arrays_of_safetensors_are_read(tmp_path):
    import safetensors.torch

    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(SD | {"mask": torch.tensor([True, False])}, path)
    np.testing.assert_array_equal(files.read_state_dict(path)["mask"], [True, False])


def legacy_file(count=4, stored=4, keys=("0",), data=bytes(16)):
    """A file in the old format, with a storage that may contradict its header."""
    stream = io.BytesIO()
    for value in (pickled_legacy.MAGIC, 1001, {}):
        pickle.dump(value, stream, 2)
    own = Pid("storage", torch.FloatStorage, "0", "cpu", count, None)
    Chosen(stream, 2).dump(Call(REBUILD, own, 0, (4,), (1,), False, {}))
    pickle.dump(list(keys), stream, 2)
    stream.write(stored.to_bytes(8, "little") + data)
    return stream


def test_a_file_in_the_old_format_is_read():
    data = np.arange(4, dtype="<f4").tobytes()
    np.testing.assert_array_equal(
        pickled_legacy.load(legacy_file(data=data)), [0, 1, 2, 3]
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"count": 1 << 40}, "beyond the end of the file"),
        ({"count": -4}, "beyond the end of the file"),
        ({"stored": 3}, "a storage is truncated"),
        ({"data": bytes(12)}, "a storage is truncated"),
        ({"keys": ()}, "storages do not match the list of keys"),
        ({"keys": ("1",)}, "storages do not match the list of keys"),
    ],
)
def test_storages_that_contradict_an_old_file_are_refused(changed, message):
    with pytest.raises(pickle.UnpicklingError, match=message):
        pickled_legacy.load(legacy_file(**changed))


def test_other_pickles_are_not_read_as_old_pytorch_files():
    stream = io.BytesIO()
    for value in (1, 1001, {}):
        pickle.dump(value, stream, 2)
    with pytest.raises(pickle.UnpicklingError, match="does not begin like a PyTorch"):
        pickled_legacy.load(stream)
