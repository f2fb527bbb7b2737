"""Random access to stored examples: prepared by TFDS, or files in folders."""

import os
from typing import Any

from etils import epath

from encnet_jax.data.catalogue import DatasetInfo
from encnet_jax.data.prepare import builders
from encnet_jax.data.records import Example, Record, decode_record, grey_mask
from encnet_jax.errors import UserError

_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


class RecordSource:
    """Examples as encoded bytes; the pipeline decodes them in TensorFlow."""

    def __init__(self, info: DatasetInfo):
        self.info = info

    def sizes(self) -> dict[str, int]:
        """Returns the number of examples of each split that is there."""
        raise NotImplementedError

    def record(self, split: str, index: int) -> Record:
        """Returns an example as stored."""
        raise NotImplementedError

    def example(self, split: str, index: int) -> Example:
        """Returns a decoded example; raises UserError, naming the file, if broken."""
        return decode_record(self.record(split, index), self.info)


class TfdsSource(RecordSource):
    """A data set that encnet_jax.data.prepare has written."""

    def __init__(self, info: DatasetInfo, data_dir: str):
        """Opens the data set.

        Raises:
            UserError: it is not prepared in data_dir, or has no builder yet.
        """
        super().__init__(info)
        builder = builders.prepared(info, data_dir)
        skip = builders.skip_decoding(builder)
        self._where = os.fspath(builder.data_path)
        stored = {
            split: builder.as_data_source(split, decoders=skip)
            for split in info.splits
            if split in builder.info.splits
        }
        parts = {split: (split,) for split in stored} | dict(info.unions)
        self._splits = {
            split: [stored[part] for part in names]
            for split, names in parts.items()
            if all(part in stored for part in names)
        }

    def sizes(self) -> dict[str, int]:
        return {split: sum(map(len, parts)) for split, parts in self._splits.items()}

    def record(self, split: str, index: int) -> Record:
        for part in self._splits[split]:
            if index < len(part):
                break
            index -= len(part)
        stored = part[index]
        name = stored["id"].decode()
        file = f"{self._where}, {split} example {name}"
        return Record(
            name=name,
            image=stored["image"],
            mask=stored["mask"],
            image_file=f"{file}, image",
            mask_file=f"{file}, mask",
        )


class FolderSource(RecordSource):
    """Images and index masks of the same stem in two folders a split."""

    def __init__(self, info: DatasetInfo, folder: Any, *, require_masks: bool = True):
        """Lists the files.

        Args:
            info: The data set.
            folder: Fields images and masks of encnet_jax.config.defaults.
            require_masks: False leaves a missing mask to the moment it is read.

        Raises:
            UserError: a folder is missing or without images, two images share a stem,
                or (require_masks) an image has no mask.
        """
        super().__init__(info)
        self._files: dict[str, list[tuple[str, str]]] = {}
        for split in info.splits:
            images = folder.images.replace("{split}", split)
            masks = folder.masks.replace("{split}", split)
            self._files[split] = pair_files(images, masks, require_masks=require_masks)

    def sizes(self) -> dict[str, int]:
        return {split: len(files) for split, files in self._files.items()}

    def record(self, split: str, index: int) -> Record:
        image_file, mask_file = self._files[split][index]
        image, mask = epath.Path(image_file), epath.Path(mask_file)
        if not mask.exists():
            raise UserError(_no_mask(image_file, mask_file))
        return Record(
            name=image.stem,
            image=image.read_bytes(),
            mask=grey_mask(mask.read_bytes(), mask_file),
            image_file=image_file,
            mask_file=mask_file,
        )


def _no_mask(image_file: str, mask_file: str) -> str:
    return f"{image_file}: has no mask; wanted {mask_file}, add it or remove the image"


def pair_files(
    images: str | os.PathLike, masks: str | os.PathLike, *, require_masks: bool = True
) -> list[tuple[str, str]]:
    """Returns (image file, mask file) by stem, sorted; masks are PNGs.

    Raises:
        UserError: a folder is missing or without images, two images share a stem, or
            (require_masks) an image has no mask.
    """
    images, masks = epath.Path(images), epath.Path(masks)
    for folder in (images, masks):
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder; wanted images or masks there")
    found = sorted(p for p in images.iterdir() if p.suffix.lower() in _IMAGE_SUFFIXES)
    if not found:
        raise UserError(f"{images}: no images; wanted .jpg, .jpeg or .png files")
    by_stem = {path.stem: path for path in reversed(found)}
    if len(by_stem) < len(found):
        twice = next(p for p in found if by_stem[p.stem] != p)
        raise UserError(
            f"{by_stem[twice.stem]} and {twice.name} share a stem; wanted one image "
            "for each mask, remove one"
        )
    pairs = [(str(path), str(masks / f"{path.stem}.png")) for path in found]
    if require_masks:
        there = {path.name for path in masks.iterdir()}
        for image_file, mask_file in pairs:
            if epath.Path(mask_file).name not in there:
                raise UserError(_no_mask(image_file, mask_file))
    return pairs
