"""Reads damaged files and describes each outcome."""

import pathlib
import shutil
from collections.abc import Iterator

import numpy as np
from PIL import Image

from benchmarks.fuzz.damage import damaged, damaged_json
from benchmarks.fuzz.readers import readers
from benchmarks.fuzz.samples import samples
from encnet_jax.data.prepare.__main__ import prepare
from encnet_jax.data.sets import named_info
from encnet_jax.data.sources.prepared import PreparedSource
from encnet_jax.errors import UserError

# Kinds whose members are damaged, not only their bytes.
_OBJECTS = (
    *("hub config", "config", "report", "starts", "refine", "temperature", "plans"),
    *("score", "annotations"),
)


def escapes(
    number: int, seed: int, folder: pathlib.Path, leave_out: tuple[str, ...] = ()
) -> Iterator[tuple[str, str, bytes | None]]:
    """Yields (kind, outcome, content) for each reading; content is None if it passed.

    Args:
        number: number of damaged files, spread over the kinds.
        seed: seed of the damage.
        folder: folder for the files.
        leave_out: kinds to skip, such as '.pth', which needs PyTorch.

    The outcome is 'read', 'refused', or a description of the escaped error.
    """
    sound, read = samples(), readers(folder)
    kinds = [kind for kind, x in sound.items() if x and kind not in leave_out]
    for i in range(number):
        kind = kinds[i % len(kinds)]
        rng = np.random.default_rng([seed, i])
        contents = sound[kind]
        whole = contents[int(rng.integers(len(contents)))]
        by_member = kind in _OBJECTS and rng.integers(2)
        content = (damaged_json if by_member else damaged)(whole, rng)
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
    """Does the same as `escapes`, for the files of a data set that TFDS prepared."""
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
            source = PreparedSource(info, str(copy))
            for split, size in source.sizes().items():
                for index in range(size):
                    source.example(split, index)
            yield "prepared", "read", None
        except UserError as error:
            named = "\n" not in str(error)
            yield "prepared", "refused" if named else f"unnamed: {error}", None
        except Exception as error:
            yield "prepared", f"{type(error).__name__}: {error}"[:200], content
