"""Writes archives for test servers, and checks them as the servers do.

A test server accepts only a few archives per week, and hardly explains why an archive
is rejected. This module therefore applies the server's checks before the upload.
"""

import contextlib
import io
import pathlib
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
from PIL import Image

from encnet_jax import storage
from encnet_jax.data.sets import declared
from encnet_jax.data.sources.info import Server, voc_colours
from encnet_jax.errors import UserError

_NO_VALUE = 255  # Written for ids that are no class; `verify` rejects this value.
_COLOUR_TYPES = {0: "grey", 2: "RGB", 3: "indexed", 4: "grey with alpha", 6: "RGBA"}


def servers() -> dict[str, tuple[str, Server]]:
    """Returns {name of a test server: (name of the server's data set, Server)}."""
    infos = declared().values()
    return {x.server.name: (x.name, x.server) for x in infos if x.server}


def find(name: str, output: str) -> tuple[str, Server]:
    """Finds a test server by name, and checks the file name of an archive.

    Args:
        name: name of the test server.
        output: file name of the archive to write.

    Returns:
        (name of the server's data set, Server).

    Raises:
        UserError: the name is unknown, the server does not accept archives with the
            suffix of `output`, or `output` is in an object store.
    """
    known = servers()
    if name not in known:
        raise UserError(
            f"--submission is {name!r}; expected one of: {', '.join(known)}"
        )
    dataset, server = known[name]
    if not output.endswith(server.suffixes):
        suffixes = " or ".join(server.suffixes)
        raise UserError(
            f"--output is {output!r}; the test server {name} expects an archive whose"
            f" name ends with {suffixes}"
        )
    storage.local_path(output, "--output")
    return dataset, server


def write(
    server: Server, output: str, predictions: Iterable[tuple[str, np.ndarray]]
) -> int:
    """Writes an archive, checks it, and renames it to `output` if the checks pass.

    Args:
        server: the test server for which the archive is written.
        output: file name of the archive.
        predictions: pairs (name of the image without suffix, uint8[H, W] class ids
            0..C-1), read one after the other to save memory.

    Returns:
        The number of images.

    Raises:
        UserError: a check failed; the archive is deleted.
    """
    sizes = {}
    target = pathlib.Path(output)
    target.parent.mkdir(parents=True, exist_ok=True)
    with storage.whole(target) as partial:
        with _writer(partial) as add:
            for name, ids in predictions:
                sizes[name] = ids.shape
                add(f"{server.folder}{name}.png", encode(server, ids))
        verify(server, str(partial), sizes)
    return len(sizes)


def encode(server: Server, ids: np.ndarray) -> bytes:
    """Encodes class ids, uint8[H, W] in 0..C-1, as an 8-bit PNG for a server."""
    values = np.full(256, _NO_VALUE, np.uint8)
    values[: server.num_classes] = server.values
    picture = Image.fromarray(values[ids])
    if server.colour_type == 3:
        # 256 entries: with fewer, Pillow would pack several pixels into a byte.
        picture.putpalette(voc_colours(256).tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def verify(server: Server, archive: str, sizes: Mapping[str, tuple[int, int]]) -> None:
    """Applies a server's checks to an archive.

    Args:
        server: the test server for which the archive was written.
        archive: file name of the archive.
        sizes: {name of a test image without suffix: (height, width)}.

    Raises:
        UserError: a check failed; the message states the file, the value found and the
            value expected.
    """
    missing = {f"{server.folder}{name}.png" for name in sizes}
    for file, content in _files(archive):
        where = f"{archive}, {file}"
        if file not in missing:
            raise UserError(
                f"{where}: no test image has this name, or the file occurs twice;"
                f" expected {len(sizes)} files {server.folder}NAME.png"
            )
        missing.remove(file)
        _verify_png(server, content, sizes[pathlib.PurePath(file).stem], where)
    if missing:
        raise UserError(
            f"{archive}: {len(missing)} of {len(sizes)} PNGs are missing, for example"
            f" {min(missing)}; expected one PNG for each test image"
        )


def _verify_png(server, content: bytes, size: tuple[int, int], where: str) -> None:
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
            values, palette = np.asarray(picture), picture.getpalette()
    except (OSError, SyntaxError) as error:
        raise UserError(
            f"{where}: not a readable PNG ({error}); write the archive again"
        ) from None
    # The header of a PNG: width, height, bits per sample, colour type.
    width, height, bits, colour_type = struct.unpack(">IIBB", content[16:26])
    if (bits, colour_type) != (8, server.colour_type):
        raise UserError(
            f"{where}: the PNG has {bits} bits, {_COLOUR_TYPES.get(colour_type)};"
            f" expected 8 bits, {_COLOUR_TYPES[server.colour_type]}"
        )
    if (height, width) != tuple(size):
        raise UserError(
            f"{where}: the PNG is {width}x{height} pixels; expected the size of the"
            f" test image, {size[1]}x{size[0]}"
        )
    unknown = np.setdiff1d(values, server.values)
    if unknown.size:
        raise UserError(
            f"{where}: a pixel has the value {unknown[0]}; expected one of the"
            f" {server.num_classes} class values from {server.values[0]} to"
            f" {server.values[-1]}"
        )
    colours = voc_colours(server.num_classes).ravel().tolist()
    if colour_type == 3 and (palette or [])[: len(colours)] != colours:
        raise UserError(
            f"{where}: the PNG has a wrong palette; expected PASCAL VOC's colour map"
        )


@contextlib.contextmanager
def _writer(path: pathlib.Path) -> Iterator[Callable[[str, bytes], None]]:
    """Yields a function (file name, content) that adds a file to a new archive."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            yield archive.writestr
        return
    with tarfile.open(path, "w:gz") as tar:

        def add(name: str, content: bytes) -> None:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))

        yield add


def _files(path: str) -> Iterator[tuple[str, bytes]]:
    """Yields (name, content) of each file of an archive."""
    try:
        if path.endswith(".zip"):
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    yield name, archive.read(name)
        else:
            with tarfile.open(path, "r:gz") as tar:
                for member in tar:
                    file = tar.extractfile(member) if member.isfile() else None
                    if file:
                        yield member.name, file.read()
    except (
        OSError,
        EOFError,
        zlib.error,
        zipfile.BadZipFile,
        tarfile.TarError,
    ) as error:
        raise UserError(
            f"{path} is not a complete archive ({error}); write the archive again"
        ) from None
