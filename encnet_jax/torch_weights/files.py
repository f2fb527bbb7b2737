"""Weight files: .safetensors and MXNet's, .pth and zips of it through PyTorch."""

import hashlib
import io
import os
import pickle
import re
import sys
import zipfile
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from etils import epath

from encnet_jax import storage
from encnet_jax.errors import UserError
from encnet_jax.torch_weights.mxnet import read_params

_TORCH_SUFFIXES = (".pth", ".pt")
MAX_UNPACKED_BYTES = 8 << 30  # A small zip can hold far more.
_DIGESTS = (hashlib.sha1, hashlib.sha256)
# safetensors' own NumPy reader does not know bfloat16.
_DTYPES = {
    "BF16": np.dtype(jnp.bfloat16),
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "I32": np.dtype("<i4"),
    "I64": np.dtype("<i8"),
}


def read_state_dict(path: str | os.PathLike) -> dict:
    """Reads a weight file; nothing in it is ever executed.

    Args:
        path: local or gs://, of a .safetensors, a .params of MXNet, a .pth, a .pt, or a
            zip that holds one of the latter two.

    Returns:
        {name: array}, nested where the file is; numbers of any precision are f32.

    Raises:
        UserError: there is no such file, it is of another kind or broken, it holds
            objects that only a run of their code could make, or PyTorch is missing.
    """
    path = epath.Path(path)
    if not path.exists() or path.is_dir():
        raise UserError(f"no file {path}")
    if path.suffix == ".params":
        return read_params(path)
    data = storage.read_bytes(path)
    if path.suffix == ".safetensors":
        return _load_safetensors(path, data)
    source = _unzipped(path, data)
    _check_digest(path, data, source)
    loaded = _load_torch(path, source)
    try:
        return _to_numpy(loaded)
    except (RecursionError, TypeError, RuntimeError, NotImplementedError) as error:
        raise UserError(
            f"{path} holds what is no plain array ({_short(error)}); wanted dense"
            " tensors on a CPU, best as .safetensors"
        ) from None


def write_state_dict(
    path: str | os.PathLike, state_dict: Mapping[str, np.ndarray]
) -> None:
    """Writes a .safetensors, a .pth or a .pt, whole or not at all.

    Raises:
        UserError: the file exists, its folder does not, its name ends otherwise, or
            PyTorch is missing.
    """
    path = epath.Path(path)
    if path.suffix not in (".safetensors", *_TORCH_SUFFIXES):
        raise UserError(f"{path} has to end in .safetensors, .pth or .pt")
    if path.exists():
        raise UserError(f"{path} exists already: choose another name")
    if not storage.is_remote(path) and not path.parent.is_dir():
        raise UserError(f"no folder {path.parent} to write {path.name} to")
    if path.suffix == ".safetensors":
        data = safetensors.numpy.save(dict(state_dict), {"format": "pt"})
    else:
        torch, buffer = _import_torch(path), io.BytesIO()
        torch.save(
            {name: torch.from_numpy(x) for name, x in state_dict.items()}, buffer
        )
        data = buffer.getvalue()
    storage.write_whole(path, data)


def _load_safetensors(path: epath.Path, data: bytes) -> dict[str, np.ndarray]:
    try:
        return {
            name: _to_array(view["data"], _DTYPES[view["dtype"]], view["shape"])
            for name, view in safetensors.deserialize(data)
        }
    except KeyError as error:
        raise UserError(
            f"{path} has an array of type {error}; wanted {', '.join(_DTYPES)}"
        ) from None
    except (safetensors.SafetensorError, ValueError, TypeError) as error:
        raise UserError(
            f"{path} is not a readable .safetensors: {_short(error)}"
        ) from error


def _to_array(data: bytes, dtype: np.dtype, shape: list[int]) -> np.ndarray:
    array = np.frombuffer(data, dtype).reshape(shape)
    if not jnp.issubdtype(dtype, jnp.floating):
        return array
    with np.errstate(over="ignore"):  # Infinity is refused where it is used.
        return array.astype(np.float32)


def _unzipped(path: epath.Path, data: bytes) -> io.BytesIO:
    """Returns what PyTorch should load; its own files are zips as well."""
    source = io.BytesIO(data)
    try:
        if not zipfile.is_zipfile(source):
            return source
        with zipfile.ZipFile(source) as archive:
            unpacked = sum(info.file_size for info in archive.infolist())
            if unpacked > MAX_UNPACKED_BYTES:
                raise UserError(
                    f"{path} unpacks to {unpacked:,} bytes; wanted at most"
                    f" {MAX_UNPACKED_BYTES:,}"
                )
            changed = archive.testzip()  # PyTorch does not look at the checksums.
            if changed:
                raise UserError(f"{path}: {changed} has changed; get the file again")
            names = archive.namelist()
            if any(name.endswith("data.pkl") for name in names):
                return io.BytesIO(data)
            weights = [name for name in names if name.endswith(_TORCH_SUFFIXES)]
            if len(weights) != 1:
                found = ", ".join(names[:5]) or "nothing"
                raise UserError(
                    f"{path} holds {found}; wanted exactly one .pth in a zip"
                )
            return io.BytesIO(archive.read(weights[0]))
    except UserError:
        raise
    except Exception as error:  # Of damaged bytes, zipfile raises many kinds.
        raise UserError(f"{path} is not a readable zip: {_short(error)}") from None


def _check_digest(path: epath.Path, data: bytes, unpacked: io.BytesIO) -> None:
    """Warns where a name such as NAME-07ac287c.zip is not that of the contents.

    PyTorch's and the authors' files carry the first digits of a SHA in their names.
    """
    named = re.search(r"-([0-9a-f]{8})$", path.stem)
    if named is None:
        return
    contents = (data, unpacked.getvalue())
    digests = [hash_(x).hexdigest() for x in contents for hash_ in _DIGESTS]
    if not any(digest.startswith(named[1]) for digest in digests):
        print(
            f"warning: neither SHA-1 nor SHA-256 of {path} begins with {named[1]}, as"
            " its name says; it may be damaged or another one",
            file=sys.stderr,
        )


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _import_torch(path: epath.Path):
    try:
        import torch
    except ImportError:
        raise UserError(
            f"{path} is a PyTorch file: install requirements/torch.txt to use it, or"
            " use .safetensors"
        ) from None
    return torch


def _load_torch(path: epath.Path, source: io.BytesIO) -> Mapping:
    torch = _import_torch(path)
    source.seek(0)
    try:
        loaded = torch.load(source, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        code = re.search(r"GLOBAL (\S+)", str(error))
        if code is None:
            raise UserError(f"{path} is not a readable PyTorch file") from error
        raise UserError(
            f"{path} holds {code[1]} as well, and code in a file is never run: if you"
            " trust it, save its state dict alone, best as .safetensors"
        ) from error
    # Of damaged bytes PyTorch raises errors of many kinds.
    except Exception as error:
        why = (str(error).splitlines() or [type(error).__name__])[0].split(". ")[0]
        raise UserError(f"{path} is not a readable PyTorch file: {why}") from error
    if not isinstance(loaded, Mapping):
        raise UserError(f"{path} holds a {type(loaded).__name__}, wanted a state dict")
    return loaded


def _to_numpy(node):
    if isinstance(node, Mapping):
        return {str(key): _to_numpy(value) for key, value in node.items()}
    if not hasattr(node, "detach"):
        return node
    tensor = node.detach().cpu()
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()
