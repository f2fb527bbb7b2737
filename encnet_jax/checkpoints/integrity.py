"""Writes and verifies checksums, because Orbax does not notice corrupted bytes."""

import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from etils import epath

from encnet_jax import storage
from encnet_jax.checkpoints import orbax
from encnet_jax.errors import UnsavedError, UserError
from encnet_jax.storage import lookup, schema

NAME = "sha256.json"
_CHUNK_BYTES = 16 << 20
# Orbax writes these after the checksums; they record when the save ended.
_ITEMS = "_CHECKPOINT_METADATA"  # It also lists the items; Orbax reads no others.
_WRITTEN_LATER = (_ITEMS, "commit_success.txt")


def seal(folder: epath.Path) -> None:
    """Writes sha256.json, with the size and SHA-256 of each file in a checkpoint.

    Args:
        folder: folder of the checkpoint.

    Raises:
        UnsavedError: the folder does not contain the files of the arrays.
    """
    _check_arrays(folder)
    files = {
        name: [lookup.size_of(path), _sha256(path)]
        for name, path in sorted(_files(folder))
        if name not in _WRITTEN_LATER
    }
    (folder / NAME).write_text(json.dumps(files, indent=0))


def _check_arrays(folder: epath.Path) -> None:
    """Raises UnsavedError if a checkpoint's arrays were written to another folder.

    Orbax writes arrays with TensorStore and all other files with Python, and the two
    may interpret a path differently.
    """
    for item in folder.iterdir():
        if (item / "_METADATA").exists() and not (item / "manifest.ocdbt").exists():
            raise UnsavedError(
                f"the arrays of a checkpoint were not written to {item}, but to another"
                " folder: choose a --workdir whose name contains only letters, digits,"
                " '-' and '_'"
            )


def find_damage(folder: epath.Path) -> str | None:
    """Returns a description of the first damaged file, or None if none is damaged.

    Args:
        folder: folder of the checkpoint.

    Raises:
        UserError: a file cannot be checked, because permission is denied.
    """
    return _find_damage(folder, lambda path, digest: _sha256(path) == digest)


def find_missing(folder: epath.Path) -> str | None:
    """Describes the first missing or wrongly sized file; returns None if all match.

    Checksums are not compared, so the function is fast enough for a call after every
    save.
    """
    return _find_damage(folder, lambda path, digest: True)


def _find_damage(
    folder: epath.Path, same: Callable[[epath.Path, str], bool]
) -> str | None:
    problem = _problem_of_json(folder / NAME, _problem_of_sums)
    if problem:
        return f"{NAME} {problem}"
    for name, (size, digest) in json.loads((folder / NAME).read_bytes()).items():
        path = folder / name
        if not lookup.exists(path):
            return f"{name} is missing"
        try:
            storage.check_regular(path)
        except UserError:
            return f"{name} is not a regular file"
        lookup.check_readable(path)
        found = lookup.size_of(path)
        if found != size:
            return f"{name} has {found} bytes instead of {size}"
        if not same(path, digest):
            return f"{name} has changed since it was written"
    problem = _problem_of_json(folder / _ITEMS, _problem_of_items)
    return f"{_ITEMS} {problem}" if problem else None


def _problem_of_json(
    path: epath.Path, problem: Callable[[Any], str | None]
) -> str | None:
    if not lookup.exists(path):
        return "is missing"
    lookup.check_readable(path)
    try:
        return problem(json.loads(storage.read_bytes(path, storage.MOST_JSON_BYTES)))
    except (UserError, ValueError, RecursionError):
        return "cannot be read"


def _problem_of_sums(value) -> str | None:
    pairs = value.values() if isinstance(value, dict) else ()
    right = all(isinstance(x, list) and len(x) == 2 for x in pairs)
    return None if pairs and right and all(map(_is_inside, value)) else "lists no files"


def _problem_of_items(value) -> str | None:
    wrong = schema.problem(value, {"item_handlers": dict})
    return None if wrong is None else "lists no items"


def _is_inside(name: str) -> bool:
    """Returns whether a relative path is valid and stays inside its folder."""
    return "\0" not in name and not {"", ".."} & set(name.split("/"))


def _files(folder: epath.Path, prefix: str = "") -> Iterator[tuple[str, epath.Path]]:
    # epath has no recursive glob.
    for path in folder.iterdir():
        if path.is_dir():
            yield from _files(path, f"{prefix}{path.name}/")
        elif path.name != NAME:
            yield f"{prefix}{path.name}", path


def _sha256(path: epath.Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:  # Files of object stores do not support file_digest.
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def steps(folder: epath.Path) -> list[int]:
    """Returns the steps of all complete checkpoints in a folder, in ascending order.

    Args:
        folder: folder of checkpoints, with a subfolder for each step; may be missing.
    """
    paths = folder.iterdir() if lookup.exists(folder) else []
    names = [path.name for path in paths if not orbax.is_unfinished(path)]
    return sorted(int(name) for name in names if re.fullmatch("0|[1-9][0-9]*", name))


def newest_whole(folder: epath.Path) -> tuple[int | None, dict[int, str]]:
    """Finds the newest undamaged checkpoint.

    Args:
        folder: folder of checkpoints, with a subfolder for each step; may be missing.

    Returns:
        (step, damaged). `step` is the step of the newest undamaged checkpoint, or None
        without one. `damaged` is {step: description} of all newer checkpoints.
    """
    damaged: dict[int, str] = {}
    for step in reversed(steps(folder)):
        damage = find_damage(folder / str(step))
        if damage is None:
            return step, damaged
        damaged[step] = damage
    return None, damaged


def set_aside_damaged(folder: epath.Path) -> None:
    """Renames damaged checkpoints that are newer than all undamaged checkpoints.

    The new name is STEP.damaged, or STEP.damaged-2 and so on if that name exists.

    Args:
        folder: folder of checkpoints, with a subfolder for each step; may be missing.

    Raises:
        UserError: all checkpoints are damaged; none is renamed.
    """
    step, damaged = newest_whole(folder)
    if damaged and step is None:
        raise UserError(
            f"all checkpoints in {folder} are damaged ({describe(damaged)}); restore"
            " one from a copy, or choose another --workdir for a new run"
        )
    if damaged:
        print(f"skipped damaged checkpoints: {describe(damaged)}; resuming from {step}")
    for name in map(str, damaged):
        (folder / name).rename(_free_name(folder, f"{name}.damaged"))


def _free_name(folder: epath.Path, name: str) -> epath.Path:
    names = itertools.chain([name], (f"{name}-{i}" for i in itertools.count(2)))
    return next(path for path in map(folder.__truediv__, names) if not path.exists())


def describe(damaged: dict[int, str]) -> str:
    """Describes damaged checkpoints: 'step 1: DAMAGE; step 2: DAMAGE'."""
    return "; ".join(f"step {step}: {damage}" for step, damage in damaged.items())
