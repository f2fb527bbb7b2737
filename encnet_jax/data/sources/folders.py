"""Images and index masks in folders, paired by file name."""

import os
from typing import Any

from etils import epath

from encnet_jax import storage
from encnet_jax.data.info import DatasetInfo
from encnet_jax.data.sources import decode
from encnet_jax.data.sources.decode import DEFAULT_RULES, ImageRules
from encnet_jax.data.sources.prepared import RecordSource
from encnet_jax.data.sources.records import Record
from encnet_jax.errors import UserError


class FolderSource(RecordSource):
    """Images and index masks of the same stem in two folders a split."""

    def __init__(
        self,
        info: DatasetInfo,
        folder: Any,
        rules: ImageRules = DEFAULT_RULES,
        *,
        require_masks: bool = True,
    ):
        """Lists the files.

        Args:
            info: The data set.
            folder: Fields images and masks of encnet_jax.config.defaults.
            rules: What images may be.
            require_masks: False leaves a missing mask to the moment it is read.

        Raises:
            UserError: a folder is missing or without images, two images share a stem,
                or (require_masks) an image has no mask.
        """
        super().__init__(info, rules)
        self._files: dict[str, list[tuple[str, str]]] = {}
        for split in info.splits:
            images = folder.images.replace("{split}", split)
            masks = folder.masks.replace("{split}", split)
            self._files[split] = pair_files(images, masks, require_masks=require_masks)

    def sizes(self) -> dict[str, int]:
        return {split: len(files) for split, files in self._files.items()}

    def files(self, split: str) -> list[tuple[str, str]]:
        """Returns (image file, mask file) of each example of a split."""
        return self._files[split]

    def record(self, split: str, index: int) -> Record:
        image_file, mask_file = self._files[split][index]
        if not epath.Path(mask_file).exists():
            raise UserError(_no_mask(image_file, mask_file))
        return Record(
            name=epath.Path(image_file).stem,
            image=storage.read_bytes(image_file, self.rules.max_bytes),
            mask=storage.read_bytes(mask_file, self.rules.max_bytes),
            image_file=image_file,
            mask_file=mask_file,
        )


def _no_mask(image_file: str, mask_file: str) -> str:
    return f"{image_file}: has no mask; wanted {mask_file}, add it or remove the image"


def pair_files(
    images: str | os.PathLike, masks: str | os.PathLike, *, require_masks: bool = True
) -> list[tuple[str, str]]:
    """Returns (image file, mask file) by stem, sorted; masks are called STEM.png.

    Files whose name begins with a dot do not count.

    Raises:
        UserError: a folder is missing or without images, two images share a stem, or
            (require_masks) an image has no mask.
    """
    image_folder, mask_folder = epath.Path(images), epath.Path(masks)
    for folder in (image_folder, mask_folder):
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder; wanted images or masks there")
    found = decode.list_images(image_folder)
    if not found:
        raise UserError(f"{images}: no images; wanted {', '.join(decode.SUFFIXES)}")
    by_stem = {path.stem: path for path in reversed(found)}
    if len(by_stem) < len(found):
        twice = next(p for p in found if by_stem[p.stem] != p)
        raise UserError(
            f"{by_stem[twice.stem]} and {twice.name} share a stem; wanted one image "
            "for each mask, remove one"
        )
    pairs = [(str(path), str(mask_folder / f"{path.stem}.png")) for path in found]
    if require_masks:
        there = {path.name for path in mask_folder.iterdir()}
        for image_file, mask_file in pairs:
            if epath.Path(mask_file).name not in there:
                raise UserError(_no_mask(image_file, mask_file))
    return pairs
