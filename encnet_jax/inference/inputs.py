"""Lists the images in given files, folders and patterns."""

import glob
import os
import re
import sys
from collections.abc import Iterable, Sequence

from etils import epath

from encnet_jax import storage
from encnet_jax.data.sources import decode
from encnet_jax.errors import UserError, printable
from encnet_jax.storage import lookup

_KNOWN = "JPEG, PNG, WebP, BMP, GIF or TIFF"


def list_images(source: epath.Path) -> list[epath.Path]:
    """Returns the sorted image files in a folder, or [source] if `source` is a file.

    Raises:
        UserError: the source does not exist, the folder has no images, or two images
            have names that differ only in the suffix.
    """
    if not lookup.exists(source):
        raise UserError(
            f"the input {source} does not exist; expected an image or a folder"
        )
    if not lookup.is_folder(source):
        storage.check_regular(source)
        return [source]
    paths = decode.list_images(source)
    if not paths:
        raise UserError(
            f"there are no images in {source}; expected files with one of these"
            f" suffixes: {', '.join(decode.SUFFIXES)}"
        )
    stems = [p.stem for p in paths]
    twice = {s for s in stems if stems.count(s) > 1}
    if twice:
        raise UserError(
            f"several images in {source} have the name {min(twice)} with different"
            " suffixes; expected distinct names: rename the images"
        )
    return paths


def list_inputs(
    sources: Sequence[str], *, recursive: bool = False
) -> dict[str, epath.Path]:
    """Returns {name: path} of the images in files, folders and patterns.

    For the names, see inference.files.prepare.

    Args:
        sources: image files, folders of images, or patterns such as 'photos/*.jpg'.
        recursive: whether to also read the subfolders of the folders.

    Raises:
        UserError: a source has no images, or results of two images would have the same
            name.
    """
    found: dict[str, epath.Path] = {}
    for source in sources:
        for path, base in _sources(source, recursive=recursive):
            for image in list_images(path):
                root = base if base.is_dir() else base.parent
                name = image.relative_to(root).with_suffix("").as_posix()
                if found.setdefault(name, image) != image:
                    raise UserError(
                        f"the results of {found[name]} and of {image} would both be"
                        f" named {name}: rename one image, or write the results to"
                        " different folders"
                    )
    return found


def _sources(source: str, *, recursive: bool) -> list[tuple[epath.Path, epath.Path]]:
    """Expands a source, which is an image file, a folder or a pattern.

    Returns:
        Pairs (image file or folder of images, base). The names of the images are paths
        relative to the base or, if the base is a file, to the folder of this file.
    """
    path = epath.Path(source)
    if not lookup.exists(path) and re.search(r"[*?\[]", source):
        matches = [epath.Path(each) for each in sorted(glob.glob(source))]
        if not matches:
            raise UserError(
                f"no file matches the pattern {source}; expected at least one image"
            )
        _report_left_out([each for each in matches if each.is_dir()], "a folder")
        return [(each, each) for each in matches if not each.is_dir()]
    if not lookup.is_folder(path):
        return [(path, path)]
    folders = _with_inner(path) if recursive else [path]
    for folder in folders:
        others = set(lookup.entries(folder)) - set(decode.list_images(folder))
        inner = {x for x in others if x.is_dir()}
        _report_left_out(others - inner, f"expected {_KNOWN}")
        if not recursive:
            _report_left_out(inner, "a folder; --recursive reads it")
    if recursive:
        folders = [each for each in folders if decode.list_images(each)] or [path]
    return [(each, path) for each in folders]


def _with_inner(folder: epath.Path) -> list[epath.Path]:
    """Returns a folder and all its subfolders at any depth, sorted by path.

    Subfolders whose names begin with a dot are skipped. Symbolic links are followed.
    Each folder is returned only once, even if several links lead to this folder.
    """
    found: dict[object, epath.Path] = {}
    waiting, again = [folder], []
    links: list[epath.Path] = []
    # Links are followed last, so that folders have their own names, not those of links.
    while waiting or links:
        current = (waiting or links).pop()
        if found.setdefault(lookup.identity(current), current) is not current:
            again.append(current)
            continue
        for each in lookup.entries(current):
            if lookup.is_folder(each) and not each.name.startswith("."):
                (links if os.path.islink(each) else waiting).append(each)
    _report_left_out(again, "a link to a folder that is read under another name")
    return sorted(found.values())


def _report_left_out(paths: Iterable[epath.Path], why: str) -> None:
    """Prints a line with the reason `why` for each path, except hidden files."""
    for path in sorted(paths):
        if not path.name.startswith("."):
            print(f"left out: {printable(path)} ({why})", file=sys.stderr)
