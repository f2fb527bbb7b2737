"""Damages thousands of files and reads each with every reader: what escapes?

python -m benchmarks.fuzz --files 20000 --seed 0

Every reader either returns or raises UserError with one line that names the file. All
else is printed and counted as an escape; then the exit status is 1. Files: images and
masks of all kinds, .npz, .safetensors, .params, .pth, prepared records, JSON lists.
"""

import argparse
import collections
import io
import json
import os
import pathlib
import shutil
import struct
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator

import numpy as np
import safetensors.numpy
from etils import epath
from PIL import Image

from encnet_jax.checkpoints import integrity
from encnet_jax.data.archives import containers as archives
from encnet_jax.data.archives.json_stream import array_items
from encnet_jax.data.catalogue import named_info
from encnet_jax.data.sources import decode, npz, records
from encnet_jax.data.sources.decode import ImageRules
from encnet_jax.errors import UserError
from encnet_jax.torch_weights import files, state_dicts

RULES = ImageRules(max_pixels=1e6, value_range=(0, 65535))


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Flips, cuts, repeats or overwrites some bytes."""
    kind, size = rng.integers(6), len(content)
    place = int(rng.integers(size))
    if kind == 0:
        return content[:place]
    if kind == 1:  # A part is missing.
        return content[:place] + content[place + int(rng.integers(1, 64)) :]
    if kind == 2:
        return content[:place] + rng.bytes(int(rng.integers(1, 64))) + content[place:]
    if kind == 3:  # The header, where most meaning is.
        place = int(rng.integers(min(size, 64)))
    out = bytearray(content)
    for _ in range(1 if kind < 5 else int(rng.integers(1, 32))):
        out[place] = rng.integers(256)
        place = int(rng.integers(size))
    return bytes(out)


def samples() -> dict[str, list[bytes]]:
    """Returns sound files of each kind of reader."""
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (24, 32, 3), np.uint8)
    ids = rng.integers(0, 11, (24, 32), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6

    def saved(array, kind, **options) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(array).save(buffer, kind, **options)
        return buffer.getvalue()

    def packed(**arrays) -> bytes:
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        return buffer.getvalue()

    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/b.png", saved(ids, "PNG"))
    weights = {"a.running_var": np.ones(9, np.float32), "b": np.ones((3, 4))}
    sums = {"data": [5, "0" * 64]}
    coco = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [[1, 2], {}]}
    images = [saved(rgb, kind) for kind in ("JPEG", "PNG", "WEBP", "BMP", "TIFF")]
    images += [saved(rgb, "JPEG", exif=exif), saved(rgb, "PNG", exif=exif)]
    images += [saved(rgb, "JPEG", progressive=True), saved(rgb, "TIFF", exif=exif)]
    images += [saved(ids.astype(np.uint16), "PNG"), saved(np.float32(ids), "TIFF")]
    images += [saved(rgb, "TIFF", compression="tiff_lzw")]
    return {
        "images": images,
        "masks": [saved(ids, kind) for kind in ("PNG", "BMP", "TIFF")],
        ".npz": [
            packed(train_images=rgb[None], train_labels=ids[None]),
        ],
        ".safetensors": [safetensors.numpy.save(weights)],
        ".params": [_mxnet_file({"arg:a": np.ones((3, 4), np.float32)})],
        ".pth": _torch_files(weights),
        "archives": [zipped.getvalue()],
        "JSON": [json.dumps(x).encode() for x in (sums, coco)],
    }


def _mxnet_file(arrays: dict[str, np.ndarray]) -> bytes:
    """Returns what MXNet 1.x writes for dense arrays; see torch_weights.mxnet."""
    content = struct.pack("<QQQ", 0x112, 0, len(arrays))
    for array in arrays.values():
        content += struct.pack("<IiI", 0xF993FAC9, 0, array.ndim)
        content += struct.pack(f"<{array.ndim}q", *array.shape)
        content += struct.pack("<iii", 1, 0, 0) + array.astype("<f4").tobytes()
    content += struct.pack("<Q", len(arrays))
    for name in arrays:
        content += struct.pack("<Q", len(name)) + name.encode()
    return content


def _torch_files(weights) -> list[bytes]:
    try:
        import torch
    except ImportError:
        return []
    buffers = []
    for new in (True, False):
        buffer = io.BytesIO()
        tensors = {name: torch.from_numpy(x) for name, x in weights.items()}
        torch.save(tensors, buffer, _use_new_zipfile_serialization=new)
        buffers.append(buffer.getvalue())
    return buffers


def readers(folder: pathlib.Path) -> dict[str, list[Callable[[bytes, str], object]]]:
    """Returns the functions that read files of each kind; they get content and name."""
    info = named_info("camvid")
    mask = decode.encode_png(np.zeros((24, 32), np.uint8))

    def stored(content: bytes, suffix: str) -> epath.Path:
        path = epath.Path(folder) / f"x{suffix}"
        path.write_bytes(content)
        return path

    def example(content: bytes, name: str):
        record = records.Record(name, content, mask, name, f"{name} mask")
        records.decode_record(record, info, RULES)

    def for_tensorflow(content: bytes, name: str):
        record = records.Record(name, content, mask, name, f"{name} mask")
        records.for_tensorflow(record, RULES)

    def weights(content: bytes, name: str):
        found = state_dicts.unwrap(files.read_state_dict(stored(content, name[1:])))
        for entry, values in found.items():
            state_dicts.check_values(f"{name}, {entry}", values)

    def archive(content: bytes, name: str):
        path = os.fspath(stored(content, ".zip"))
        opened = archives.open_archive(path, scratch=None)
        for member in opened.names():
            opened.read(member)

    def sums(content: bytes, name: str):
        (folder / integrity.NAME).write_bytes(content)
        integrity.find_damage(epath.Path(folder))

    def items(content: bytes, name: str):
        list(array_items(io.BytesIO(content), name))

    return {
        "images": [
            lambda content, name: decode.decode_image(content, name, RULES),
            lambda content, name: decode.image_size(content, name, RULES),
            example,
            for_tensorflow,
        ],
        "masks": [
            lambda content, name: decode.decode_mask(content, name, RULES),
            lambda content, name: decode.tensorflow_decodes(
                content, name, RULES, mask=True
            ),
        ],
        ".npz": [lambda content, name: npz.load(stored(content, ".npz"), "arrays", 64)],
        ".safetensors": [weights],
        ".params": [weights],
        ".pth": [weights],
        "archives": [archive],
        "JSON": [sums, items],
    }


def escapes(
    number: int, seed: int, folder: pathlib.Path, leave_out: tuple[str, ...] = ()
) -> Iterator[tuple[str, str, bytes | None]]:
    """Yields (kind, outcome, content) for each reading; content where it escaped.

    Args:
        number: of damaged files, spread over the kinds.
        seed: decides the damage.
        folder: for files.
        leave_out: kinds, such as '.pth', which needs PyTorch.

    The outcome is 'read', 'refused', or what escaped.
    """
    sound, read = samples(), readers(folder)
    kinds = [kind for kind, x in sound.items() if x and kind not in leave_out]
    for i in range(number):
        kind = kinds[i % len(kinds)]
        rng = np.random.default_rng([seed, i])
        contents = sound[kind]
        content = damaged(contents[int(rng.integers(len(contents)))], rng)
        for reader in read[kind]:
            name = f"x{kind}" if kind[0] == "." else f"x {kind}"
            try:
                reader(content, name)
                yield kind, "read", None
            except UserError as error:
                line = str(error)
                named = "\n" not in line and ("x" in line)
                yield kind, "refused" if named else f"unnamed: {line}", None
            except Exception as error:
                yield kind, f"{type(error).__name__}: {error}"[:200], content


def prepared_escapes(number: int, seed: int, folder: pathlib.Path):
    """As escapes, for the files of a data set that TFDS prepared."""
    from encnet_jax.data.prepare.__main__ import prepare
    from encnet_jax.data.sources.prepared import TfdsSource

    info = named_info("camvid")
    for split in ("train", "val"):
        for i in range(3):
            pixels = np.random.default_rng(i).integers(0, 11, (24, 32), np.uint8)
            for kind, name in ((split, f"{i}.png"), (f"{split}annot", f"{i}.png")):
                file = folder / "source" / kind / name
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(file)
    whole = folder / "whole"
    prepare("camvid", source=str(folder / "source"), data_dir=str(whole))
    names = sorted(p.relative_to(whole) for p in whole.rglob("*") if p.is_file())
    for i in range(number):
        rng = np.random.default_rng([seed, i])
        copy = folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(whole, copy)
        file = copy / names[int(rng.integers(len(names)))]
        content = damaged(file.read_bytes(), rng)
        file.write_bytes(content)
        try:
            source = TfdsSource(info, str(copy))
            for split, size in source.sizes().items():
                for index in range(size):
                    source.example(split, index)
            yield "prepared", "read", None
        except UserError as error:
            named = "\n" not in str(error)
            yield "prepared", "refused" if named else f"unnamed: {error}", None
        except Exception as error:
            yield "prepared", f"{type(error).__name__}: {error}"[:200], content


def main() -> int:
    """Prints the counts; returns 1 where anything escaped."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--prepared", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    counts, began = collections.Counter(), time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for make, number in ((escapes, args.files), (prepared_escapes, args.prepared)):
            for kind, outcome, _ in make(number, args.seed, folder):
                counts[kind, outcome] += 1
    bad = {key: n for key, n in counts.items() if key[1] not in ("read", "refused")}
    for (kind, outcome), number in sorted(counts.items()):
        print(f"{kind:<14} {number:>7} {outcome}")
    total = args.files + args.prepared
    print(
        f"{total} files, {sum(counts.values())} readings, {sum(bad.values())} escapes"
    )
    print(f"{time.monotonic() - began:.0f} s")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
