"""Reading MXNet's .params files."""

import struct

import mxnet_files
import numpy as np
import pytest

from encnet_jax.errors import UserError
from encnet_jax.torch_weights.mxnet import read_params

ARRAYS = {
    "arg:conv_weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "aux:conv/bn_moving_mean": np.array([0.5, -0.25], np.float32),
}
WHOLE = mxnet_files.file_bytes(ARRAYS)


def read(tmp_path, data: bytes):
    path = tmp_path / "some.params"
    path.write_bytes(data)
    return read_params(path)


@pytest.mark.parametrize(
    "version", [mxnet_files.V0, mxnet_files.V1, mxnet_files.V2, mxnet_files.V3]
)
def test_every_file_version_is_read(tmp_path, version):
    found = read(tmp_path, mxnet_files.file_bytes(ARRAYS, version))
    assert list(found) == list(ARRAYS)
    for name, expected in ARRAYS.items():
        np.testing.assert_array_equal(found[name], expected)


@pytest.mark.parametrize("dtype", ["<f4", "<f8", "<f2", "u1", "<i4", "i1", "<i8"])
def test_every_array_type_is_read(tmp_path, dtype):
    array = np.array([[1, 2, 3]]).astype(dtype)
    found = read(tmp_path, mxnet_files.file_bytes({"arg:x": array}))["arg:x"]
    np.testing.assert_array_equal(found, array)
    assert found.dtype == (np.float32 if array.dtype.kind == "f" else array.dtype)


def test_every_truncation_is_one_line(tmp_path):
    for size in range(len(WHOLE)):
        with pytest.raises(UserError, match="not a readable .params") as error:
            read(tmp_path, WHOLE[:size])
        assert "\n" not in str(error.value)


def changed(at: int, code: str, value: int) -> bytes:
    data = bytearray(WHOLE)
    struct.pack_into(f"<{code}", data, at, value)
    return bytes(data)


NAMES_AT = len(WHOLE) - sum(8 + len(name) for name in ARRAYS) - 8
# Of the first array: its number of axes, its sides, its type.
AXES_AT, SIDES_AT, TYPE_AT = 28, 32, 72
FAULTS = {
    "magic": (changed(0, "Q", 0x111), "first bytes are not"),
    "empty": (b"", "first bytes are not"),
    "huge count": (changed(16, "Q", 2**62), f"should contain {2**62} arrays"),
    "fewer arrays": (changed(16, "Q", 1), "should contain"),
    "fewer names": (changed(NAMES_AT, "Q", 1), "2 arrays but 1 names"),
    "more names": (changed(NAMES_AT, "Q", 3), "truncated|should contain 3"),
    "long name": (changed(NAMES_AT + 8, "Q", 2**60), "letters"),
    "axes": (changed(AXES_AT, "I", 2**31), f"{2**31} axes"),
    "huge side": (changed(SIDES_AT, "q", 2**62), "truncated"),
    "negative side": (changed(SIDES_AT, "q", -2), r"shape \[-2, 3, 2, 2\]"),
    "no axes": (changed(AXES_AT, "I", 0), r"shape \[\]"),
    "type": (changed(TYPE_AT, "i", 12), "unknown type 12"),
    "trailing": (WHOLE + b"x", "1 surplus bytes follow"),
    "sparse": (
        mxnet_files.file_bytes(ARRAYS, mxnet_files.V2, storage=1),
        "a sparse array",
    ),
    "no text": (WHOLE[:-1] + b"\xff", "not UTF-8 text"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_reported_in_one_line(tmp_path, fault):
    data, message = FAULTS[fault]
    with pytest.raises(UserError, match=message) as error:
        read(tmp_path, data)
    assert "\n" not in str(error.value)


def test_two_arrays_of_one_name(tmp_path):
    data = mxnet_files.file_bytes({"arg:a": np.ones(1), "arg:b": np.ones(1)})
    with pytest.raises(UserError, match="two arrays named arg:a"):
        read(tmp_path, data.replace(b"arg:b", b"arg:a"))


def test_a_missing_file_is_reported(tmp_path):
    with pytest.raises(UserError, match="no file"):
        read_params(tmp_path / "none.params")
