"""Reads examples from folders of images and folders of masks."""

import os
from collections.abc import Iterable
from typing import Any

from etils import epath

from encnet_jax import storage
from encnet_jax.data.sources import decode
from encnet_jax.data.sources.decode import DEFAULT_RULES, ImageRules
from encnet_jax.data.sources.info import DatasetInfo
from encnet_jax.data.sources.prepared import RecordSource
from encnet_jax.data.sources.records import Record
from encnet_jax.errors import UserError
from encnet_jax.storage import lookup


class FolderSource(RecordSource):
    """Reads the examples of each split from a folder of images and a folder of masks.

    The masks contain class ids. An image and its mask have the same file stem.
    """

    def __init__(
        self,
        info: DatasetInfo,
        folder: Any,
        rules: ImageRules = DEFAULT_RULES,
        *,
        require_masks: bool = True,
    ):
        """Lists the image and mask files of each split.

        Args:
            info: The DatasetInfo of the data set.
            folder: Section `data.folder` of the configuration; only the fields `images`
                and `masks` are used.
            rules: limits on images.
            require_masks: if False, an image without a mask raises an error only when
                the example is read.

        Raises:
            UserError: the folders of every split are invalid. If only some splits are
                invalid, their errors are stored in the attribute `missing`, and
                Dataset.num_examples(split) raises the error of `split`.
        """
        super().__init__(info, rules)
        self.missing: dict[str, UserError] = {}
        self._files: dict[str, list[tuple[str, str]]] = {}
        self._folders: dict[str, tuple[epath.Path, epath.Path]] = {}
        for split in info.splits:
            images = folder.images.replace("{split}", split)
            masks = folder.masks.replace("{split}", split)
            try:
                self._files[split] = pair_files(
                    images, masks, require_masks=require_masks
                )
            except UserError as error:
                self.missing[split] = error
                continue
            self._folders[split] = epath.Path(images), epath.Path(masks)
        if not self._files:
            raise next(iter(self.missing.values()))

    def sizes(self) -> dict[str, int]:
        return {split: len(files) for split, files in self._files.items()}

    def files(self, split: str) -> list[tuple[str, str]]:
        """Returns the list of pairs (image path, mask path) of a split."""
        return self._files[split]

    def left_out(self, split: str) -> list[str]:
        """Returns messages that name the ignored files in the folders of a split."""
        return left_out(*self._folders[split])

    def record(self, split: str, index: int) -> Record:
        image_file, mask_file = self._files[split][index]
        if not lookup.exists(mask_file):
            raise UserError(_no_mask(image_file, mask_file))
        return Record(
            name=epath.Path(image_file).stem,
            image=storage.read_bytes(image_file, self.rules.max_bytes),
            mask=storage.read_bytes(mask_file, self.rules.max_bytes),
            image_file=image_file,
            mask_file=mask_file,
        )


def _no_mask(image_file: str, mask_file: str, there: Iterable[str] = ()) -> str:
    """Returns the error message for an image without a mask.

    Args:
        image_file: path of the image.
        mask_file: expected path of the mask.
        there: names of files that have the stem of the image, but not the suffix of a
            mask.
    """
    found = f"; {', '.join(sorted(there))} is not a mask" if there else ""
    return (
        f"{image_file}: has no mask{found}; expected {mask_file}, or the same name with"
        f" {', '.join(decode.MASK_SUFFIXES[1:])}: add the mask or remove the image"
    )


def pair_files(
    images: str | os.PathLike, masks: str | os.PathLike, *, require_masks: bool = True
) -> list[tuple[str, str]]:
    """Pairs each image with the mask that has the same file stem.

    The suffix of a mask is one of decode.MASK_SUFFIXES, in lower or upper case. Files
    whose name begins with a dot are ignored.

    Args:
        images: folder of the images.
        masks: folder of the masks.
        require_masks: if False, an image without a mask is paired with the path of a
            PNG that does not exist.

    Returns:
        Pairs (image path, mask path), sorted by image path.

    Raises:
        UserError: a folder is missing, the folder `images` has no images, two images or
            two masks have the same stem, or an image has no mask and `require_masks` is
            True.
    """
    image_folder, mask_folder = _folder(images), _folder(masks)
    found = decode.list_images(image_folder)
    if not found:
        raise UserError(
            f"{images}: has no images; expected files that end in"
            f" {', '.join(decode.SUFFIXES)}"
        )
    by_stem = {path.stem: path for path in reversed(found)}
    if len(by_stem) < len(found):
        twice = next(p for p in found if by_stem[p.stem] != p)
        raise UserError(
            f"{by_stem[twice.stem]} and {twice.name} have the same stem; expected one"
            " image per mask; remove or rename one of these files"
        )
    there = _by_stem(mask_folder)
    pairs = []
    for path in found:
        names = there.get(path.stem, [])
        usable = [name for name in names if _is_mask(name)]
        if len(usable) > 1:
            raise UserError(
                f"{mask_folder / usable[0]} and {usable[1]} have the same stem;"
                " expected one mask per image; remove or rename one of these files"
            )
        mask_file = str(mask_folder / (usable or [f"{path.stem}.png"])[0])
        if require_masks and not usable:
            raise UserError(_no_mask(str(path), mask_file, names))
        pairs.append((str(path), mask_file))
    return pairs


def _folder(name: str | os.PathLike) -> epath.Path:
    storage.is_remote(name)  # Raises for unknown URL schemes.
    folder = epath.Path(name)
    if not lookup.is_folder(folder):
        place = "" if folder.is_absolute() else f" in {os.getcwd()}"
        raise UserError(
            f"{folder}: no such folder{place}; expected a folder of images or masks:"
            " correct data.folder.images and data.folder.masks, or --images and --masks"
        )
    return folder


def _is_mask(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in decode.MASK_SUFFIXES


def _by_stem(folder: epath.Path) -> dict[str, list[str]]:
    """Groups the names of the files in a folder by stem; returns {stem: sorted names}.

    Files whose name begins with a dot are ignored.
    """
    found: dict[str, list[str]] = {}
    for name in (path.name for path in lookup.entries(folder)):
        if not name.startswith("."):
            found.setdefault(os.path.splitext(name)[0], []).append(name)
    return found


def left_out(images: epath.Path, masks: epath.Path) -> list[str]:
    """Returns messages that name the ignored files in the folders of a split.

    Subfolders, images in unsupported formats, and masks without an image are ignored.

    Args:
        images: folder of the images.
        masks: folder of the masks.
    """
    lines = []
    names = decode.not_listed(images)
    if names:
        lines.append(
            f"{images}: {_some(names)} ignored; expected images"
            f" ({', '.join(decode.SUFFIXES)}) directly in the folder"
        )
    stems = {path.stem for path in decode.list_images(images)}
    alone = [
        name
        for stem, found in _by_stem(masks).items()
        for name in found
        if stem not in stems and _is_mask(name)
    ]
    if alone:
        lines.append(f"{masks}: {_some(alone)} ignored, because no image has this stem")
    return lines


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" * (len(names) > 3))
    return f"{shown} {'is' if len(names) == 1 else 'are'}"
