"""Reads .safetensors, .pth, .zip and .params files; writes .safetensors and .pth."""

import hashlib
import io
import os
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
from encnet_jax.errors import UserError, reason
from encnet_jax.storage import lookup
from encnet_jax.torch_weights import pickled, pickled_legacy
from encnet_jax.torch_weights.mxnet import read_params

_TORCH_SUFFIXES = (".pth", ".pt")
MAX_UNPACKED_BYTES = 8 << 30  # A small zip can unpack to far more.
_DIGESTS = (hashlib.sha1, hashlib.sha256)
# The NumPy reader of safetensors does not support bfloat16.
_DTYPES = {
    "BF16": np.dtype(jnp.bfloat16),
    "BOOL": np.dtype(np.bool_),
    "F16": np.dtype("<f2"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "I8": np.dtype(np.int8),
    "I16": np.dtype("<i2"),
    "I32": np.dtype("<i4"),
    "I64": np.dtype("<i8"),
    "U8": np.dtype(np.uint8),
}


def read_state_dict(path: str | os.PathLike) -> dict:
    """Reads a weight file without running code that the file may contain.

    PyTorch is not required, even for files written by PyTorch before version 1.6.

    Args:
        path: a .safetensors, .params (MXNet), .pth or .pt file, or a zip with one .pth
            or .pt file; on a local disk or in an object store.

    Returns:
        {name: array}, nested as in the file; floating-point arrays are converted to
        f32.

    Raises:
        UserError: the file does not exist, has an unknown format, is damaged, or
            contains objects other than arrays, numbers, strings and containers.
    """
    file = epath.Path(path)
    if not lookup.exists(file) or lookup.is_folder(file):
        raise UserError(f"there is no file {file}: choose an existing weight file")
    if file.suffix == ".params":
        return read_params(file)
    data = storage.read_bytes(file)
    if file.suffix == ".safetensors":
        return _load_safetensors(file, data)
    source = _unzipped(file, data)
    _check_digest(file, data, source)
    loaded = _load_pickled(file, source)
    if not isinstance(loaded, Mapping):
        raise UserError(
            f"{file} contains a {type(loaded).__name__}; expected a state dict: save"
            " only the state dict"
        )
    try:
        return _single_precision(loaded)
    except RecursionError:
        raise UserError(
            f"{file} contains dicts that are nested too deeply; expected a state dict:"
            " save only the state dict"
        ) from None


def write_state_dict(
    path: str | os.PathLike, state_dict: Mapping[str, np.ndarray]
) -> None:
    """Writes a .safetensors, .pth or .pt file; an interrupted write leaves no file.

    Args:
        path: path of the file; its suffix determines the format.
        state_dict: {name: array}.

    Raises:
        UserError: the file exists, its folder does not exist, its suffix is not
            supported, or PyTorch is not installed (required for .pth and .pt).
    """
    file = epath.Path(path)
    if file.suffix not in (".safetensors", *_TORCH_SUFFIXES):
        raise UserError(
            f"{file} has an unsupported suffix; expected .safetensors, .pth or .pt"
        )
    if file.exists():
        raise UserError(f"{file} exists already: choose another name")
    if not storage.is_remote(file) and not file.parent.is_dir():
        raise UserError(
            f"{file} cannot be written, because the folder {file.parent} does not"
            " exist: create the folder, or choose another path"
        )
    if file.suffix == ".safetensors":
        data = safetensors.numpy.save(dict(state_dict), {"format": "pt"})
    else:
        torch, buffer = _import_torch(file), io.BytesIO()
        torch.save(
            {name: torch.from_numpy(x) for name, x in state_dict.items()}, buffer
        )
        data = buffer.getvalue()
    storage.write_whole(file, data)


def _load_safetensors(path: epath.Path, data: bytes) -> dict[str, np.ndarray]:
    try:
        return {
            name: _single(
                np.frombuffer(view["data"], _DTYPES[view["dtype"]]).reshape(
                    view["shape"]
                )
            )
            for name, view in safetensors.deserialize(data)
        }
    except KeyError as error:
        raise UserError(
            f"{path} contains an array of type {error}; expected one of"
            f" {', '.join(_DTYPES)}: convert the array"
        ) from None
    except (safetensors.SafetensorError, ValueError, TypeError) as error:
        raise UserError(
            f"{path} is not a readable .safetensors file: {reason(error)}; get the file"
            " again"
        ) from error


def _single(array: np.ndarray) -> np.ndarray:
    """Converts a floating-point array to f32; returns other arrays unchanged."""
    if not jnp.issubdtype(array.dtype, jnp.floating):
        return array
    with np.errstate(over="ignore"):  # Functions that use the array reject infinity.
        return array.astype(np.float32, copy=False)


def _single_precision(node):
    """Converts all floating-point arrays in nested dicts to f32.

    Raises:
        RecursionError: the dicts are nested too deeply.
    """
    done: dict[int, object] = {}  # A file may refer to one object several times.

    def convert(node):
        if id(node) not in done:
            if isinstance(node, np.ndarray):
                done[id(node)] = _single(node)
            elif isinstance(node, dict):
                found = done[id(node)] = {}
                found.update((name, convert(x)) for name, x in node.items())
            else:
                done[id(node)] = node
        return done[id(node)]

    return convert(node)


def _unzipped(path: epath.Path, data: bytes) -> io.BytesIO:
    """Extracts a PyTorch file from a zip; returns other files unchanged.

    The files of PyTorch 1.6 and later are zips themselves, and are not extracted.

    Args:
        path: path of the file, for messages.
        data: contents of the file.
    """
    source = io.BytesIO(data)
    try:
        if not zipfile.is_zipfile(source):
            return source
        with zipfile.ZipFile(source) as archive:
            unpacked = sum(info.file_size for info in archive.infolist())
            if unpacked > MAX_UNPACKED_BYTES:
                raise UserError(
                    f"{path} unpacks to {unpacked:,} bytes; expected at most"
                    f" {MAX_UNPACKED_BYTES:,}: unpack the zip, and pass the weight file"
                )
            changed = archive.testzip()
            if changed:
                raise UserError(
                    f"{changed} in {path} does not match its checksum; download {path}"
                    " again"
                )
            if pickled.is_torch_zip(archive):
                return io.BytesIO(data)
            weights = [n for n in archive.namelist() if _is_weights(n)]
            if len(weights) != 1:
                found = ", ".join(archive.namelist()[:5]) or "nothing"
                raise UserError(
                    f"the zip {path} contains {found}; expected exactly one .pth or .pt"
                    " file: unpack the zip, and pass the weight file"
                )
            return io.BytesIO(archive.read(weights[0]))
    except UserError:
        raise
    except Exception as error:  # zipfile raises errors of many types for damaged files.
        raise UserError(
            f"{path} is not a readable zip: {reason(error)}; get the file again"
        ) from None


def _is_weights(name: str) -> bool:
    """Returns whether a zip's entry is a PyTorch file, but no hidden file of macOS."""
    hidden = name.startswith("__MACOSX/") or name.rpartition("/")[2].startswith("._")
    return name.endswith(_TORCH_SUFFIXES) and not hidden


def _check_digest(path: epath.Path, data: bytes, unpacked: io.BytesIO) -> None:
    """Prints a warning if a file does not match the digest in its name.

    PyTorch and the authors append the first eight digits of the file's SHA-1 or SHA-256
    to the name, for example NAME-07ac287c.zip.

    Args:
        path: path of the file.
        data: contents of the file.
        unpacked: contents of the PyTorch file; differs from `data` only if the PyTorch
            file is inside a zip.
    """
    named = re.search(r"-([0-9a-f]{8})$", path.stem)
    if named is None:
        return
    contents = (data, unpacked.getvalue())
    digests = [hash_(x).hexdigest() for x in contents for hash_ in _DIGESTS]
    if not any(digest.startswith(named[1]) for digest in digests):
        print(
            f"warning: neither the SHA-1 nor the SHA-256 of {path} starts with"
            f" {named[1]}, the digits in its name; the file may be damaged or have a"
            " wrong name",
            file=sys.stderr,
        )


def _import_torch(path: epath.Path):
    try:
        import torch
    except ImportError:
        raise UserError(
            f"PyTorch is required to write {path}: run pip install -r"
            " requirements/torch.txt, or choose the suffix .safetensors"
        ) from None
    return torch


def _load_pickled(path: epath.Path, source: io.BytesIO):
    """Returns the object that torch.save wrote; tensors become NumPy arrays."""
    source.seek(0)
    try:
        if zipfile.is_zipfile(source):
            with zipfile.ZipFile(source) as archive:
                return pickled.load(archive)
        return pickled_legacy.load(source)
    except pickled.NotPlainError as error:
        raise UserError(
            f"{path} contains {error}, which could run code; expected only arrays,"
            " numbers, strings and containers: if you trust the file, load it with"
            " PyTorch, and save the state dict as .safetensors"
        ) from None
    # For damaged files, pickle and zipfile raise errors of many types.
    except Exception as error:
        raise UserError(
            f"{path} is not a readable PyTorch file: {reason(error)}; get the file"
            " again"
        ) from error
