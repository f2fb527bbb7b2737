"""Downloads, verifies and caches the files of published weights."""

import hashlib
import os
import pathlib
import re
import sys
import urllib.error
import zipfile

from encnet_jax import storage
from encnet_jax.errors import UserError
from encnet_jax.weights import PUBLISHED, Published, transfer
from encnet_jax.weights.publishers import timm

_VARIABLE = "ENCNET_CACHE"


def folder() -> pathlib.Path:
    """Returns the folder of cached weight files.

    The folder is $ENCNET_CACHE/weights if the variable is set, and otherwise
    encnet_jax/weights in the user's cache folder, such as ~/.cache.
    """
    given = os.environ.get(_VARIABLE)
    if given:
        return pathlib.Path(os.path.expanduser(given)) / "weights"
    home = pathlib.Path(os.path.expanduser("~"))
    if sys.platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        base = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return base / "encnet_jax" / "weights"


def is_name(source: str) -> bool:
    """Returns whether a text is 'PUBLISHER:MODEL' with a known publisher."""
    publishers = {name.partition(":")[0] for name in PUBLISHED}
    return source.partition(":")[0] in publishers and ":" in source


def find(name: str) -> Published:
    """Returns the published weights with this name.

    Raises:
        UserError: the name is unknown, or that of an unsupported variant of ResNet.
    """
    publisher, _, model = name.partition(":")
    refuse_look_alike(model)
    if name in PUBLISHED:
        return PUBLISHED.get(name)
    known = [n for n in PUBLISHED if n.startswith(f"{publisher}:")] or list(PUBLISHED)
    raise UserError(
        f"there are no published weights {name!r}; expected one of: {', '.join(known)}"
    )


def refuse_look_alike(text: str) -> None:
    """Raises UserError if a name is that of an unsupported variant of ResNet.

    The arrays of these variants have the names and shapes of a plain ResNet. Without
    this check, the weights would therefore be loaded, but scores would be wrong.

    Args:
        text: name of weights, or path of a file.
    """
    found = re.search(timm.LOOK_ALIKES, text)
    if found:
        raise UserError(
            f"{text}: {found[0]} uses timm's anti-aliased pooling, which this package"
            " does not support, so scores would be wrong; expected a plain ResNet: use"
            " timm:resnet50d or torchvision:resnet50"
        )


def refuse_look_alike_file(path: str) -> None:
    """Raises UserError if a file contains an unsupported variant of ResNet.

    The variant is recognised by the file's path and by the config.json next to the
    file; see refuse_look_alike.
    """
    file = pathlib.Path(path)
    refuse_look_alike("/".join(file.parts[-2:]))
    described = file.with_name("config.json")  # timm's Hugging Face folders have it.
    if file.suffix == ".safetensors" and described.is_file():
        try:
            content = storage.read_json(described)
        except UserError:
            return
        refuse_look_alike(str(content.get("architecture", "")))


def path_of(entry: Published) -> pathlib.Path:
    """Returns the path in the cache for a published weight file."""
    return folder() / entry.file_name


def cached(entry: Published) -> pathlib.Path | None:
    """Returns the path of a published weight file; None if not downloaded yet.

    PyTorch's own cache is searched too, but only for weights with a published digest.
    """
    home = os.environ.get("TORCH_HOME") or os.path.expanduser("~/.cache/torch")
    shared = pathlib.Path(home) / "hub" / "checkpoints" / entry.file_name
    places = [path_of(entry), *([shared] if entry.digest else [])]
    return next((path for path in places if path.is_file()), None)


def fetch(name: str) -> pathlib.Path:
    """Downloads published weights if necessary, and returns the path of the file.

    Only one process per machine downloads the file; other processes wait.

    Args:
        name: name of the weights, such as 'timm:resnet50d'.

    Raises:
        UserError: the name is unknown, the download failed, or the file's digest is not
            the published one.
    """
    entry = find(name)
    path = path_of(entry)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with transfer.only_process(path):
            found = cached(entry)
            if found is not None:
                return _verified(entry, found)
            return _download(entry, path)
    except transfer.ERRORS as error:
        reason = str(error)
        if isinstance(error, urllib.error.HTTPError):
            reason = f"{error.code} {error.reason}"
        raise UserError(
            f"cannot download {name} ({entry.size}) from {entry.address}: {reason};"
            f" download the file in another way and save it as {path}, or choose"
            f" another cache folder with ${_VARIABLE}"
        ) from None


def _download(entry: Published, path: pathlib.Path) -> pathlib.Path:
    print(f"downloading {entry.name} ({entry.size}) to {path}", flush=True)
    part = path.with_name(f"{path.name}.part")
    transfer.fetch(entry.address, part)
    return _verified(entry, part).replace(path)


def _verified(entry: Published, file: pathlib.Path) -> pathlib.Path:
    """Verifies a weight file, and returns `file`; deletes a new download if wrong.

    If no digest is published, only the first bytes of the file are checked.
    """
    published, found = entry.digest, _digest(entry, file)
    if not published:
        print(f"{entry.name}: the publisher states no digest; the file is not verified")
    if found.startswith(published) and (published or _is_weights(file)):
        return file
    expected = (
        f"its digest is {found[: len(published) + 8]}...; expected {published}..."
    )
    if not published:
        expected = "its first bytes are not those of a weight file"
    if file.suffix == ".part":
        file.unlink()
        raise UserError(
            f"{entry.address} returned a wrong file for {entry.name}: {expected}; run"
            " the command again, or use another weight file"
        )
    raise UserError(
        f"{file} is not the file of {entry.name}: {expected}: remove the file to"
        f" download it again, or pass the path {file} instead of the name to use this"
        " file anyway"
    )


def _is_weights(file: pathlib.Path) -> bool:
    """Returns whether a file starts like a zip, pickle or .safetensors file."""
    with open(file, "rb") as contents:
        start = contents.read(9)
    return start.startswith((b"PK", b"\x80")) or start[8:] == b"{"


def _digest(entry: Published, file: pathlib.Path) -> str:
    """Computes a file's digest for comparison with Published.digest.

    The result is '' if no digest is published.
    """
    if not entry.digest:
        return ""
    if not entry.digest.startswith("sha1:"):
        with open(file, "rb") as contents:
            return hashlib.file_digest(contents, "sha256").hexdigest()
    try:
        with zipfile.ZipFile(file) as archive:
            name = next(n for n in archive.namelist() if n.endswith(".pth"))
            with archive.open(name) as contents:
                digest = hashlib.file_digest(contents, "sha1")  # type: ignore[arg-type]
                return f"sha1:{digest.hexdigest()}"
    except (zipfile.BadZipFile, StopIteration):
        return "sha1:(no .pth in a zip)"
