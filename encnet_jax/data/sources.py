"""Random access to stored examples: prepared by TFDS, files in folders, generated."""

import functools
import os
from typing import Any

from etils import epath

from encnet_jax import storage
from encnet_jax.data import decode, scenes
from encnet_jax.data.decode import DEFAULT_RULES, ImageRules
from encnet_jax.data.info import STORED_VERSION, DatasetInfo
from encnet_jax.data.records import Example, Record, decode_record
from encnet_jax.data.tensorflow_import import tensorflow_datasets
from encnet_jax.errors import UserError


class RecordSource:
    """Examples as encoded bytes; the tf.data pipeline decodes them in TensorFlow."""

    def __init__(self, info: DatasetInfo, rules: ImageRules):
        self.info = info
        self.rules = rules

    def sizes(self) -> dict[str, int]:
        """Returns the number of examples of each split that is there."""
        raise NotImplementedError

    def record(self, split: str, index: int) -> Record:
        """Returns an example as stored; raises UserError, naming it, if unreadable."""
        raise NotImplementedError

    def example(self, split: str, index: int) -> Example:
        """Returns a decoded example; raises UserError, naming the file, if broken."""
        return decode_record(self.record(split, index), self.info, self.rules)


class ScenesSource(RecordSource):
    """The generated scenes; each is drawn and encoded once."""

    def __init__(self, info: DatasetInfo):
        super().__init__(info, DEFAULT_RULES)

    def sizes(self) -> dict[str, int]:
        return dict(scenes.NUM_IMAGES)

    def record(self, split: str, index: int) -> Record:
        image, mask = _drawn_scene(split, index)
        name = f"{split}_{index:04d}"
        return Record(name, image, mask, f"scene {name}", f"mask of scene {name}")


@functools.cache
def _drawn_scene(split: str, index: int) -> tuple[bytes, bytes]:
    image, label = scenes.generate(split, index)
    return decode.encode_png(image), decode.encode_png(label)


class TfdsSource(RecordSource):
    """A data set that encnet_jax.data.prepare has written."""

    def __init__(
        self, info: DatasetInfo, data_dir: str, rules: ImageRules = DEFAULT_RULES
    ):
        """Opens the data set.

        Raises:
            UserError: it is not prepared in data_dir, or what is there is broken.
        """
        super().__init__(info, rules)
        name = info.stored_as or info.name
        folder = epath.Path(data_dir).expanduser() / name / STORED_VERSION
        if not folder.exists():
            raise UserError(
                f"{info.name} is not prepared: found no {folder}, wanted a data set"
                f" there; {info.how_to_prepare(data_dir)}"
            )
        self._where = os.fspath(folder)
        try:
            stored = _stored_splits(folder, info.splits)
        # TFDS and array_record raise errors of many kinds for files that are damaged.
        except Exception as error:
            raise UserError(self._broken("", error)) from None
        parts = {split: (split,) for split in stored} | dict(info.unions)
        self._splits = {
            split: [stored[part] for part in names]
            for split, names in parts.items()
            if all(part in stored for part in names)
        }

    def _broken(self, what: str, error: Exception) -> str:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        return (
            f"{self._where}{what}: cannot be read ({reason}); remove the folder and"
            " prepare the data set again"
        )

    def sizes(self) -> dict[str, int]:
        return {split: sum(map(len, parts)) for split, parts in self._splits.items()}

    def record(self, split: str, index: int) -> Record:
        position = index
        for part in self._splits[split]:
            if position < len(part):
                break
            position -= len(part)
        try:
            stored = part[position]
            name = stored["id"].decode()
        except Exception as error:  # As above; the split's other examples may be whole.
            where = f", {split} example {index}"
            raise UserError(self._broken(where, error)) from None
        file = f"{self._where}, {split} example {name}"
        return Record(
            name=name,
            image=stored["image"],
            mask=stored["mask"],
            image_file=f"{file}, image",
            mask_file=f"{file}, mask",
        )


def _stored_splits(folder: epath.Path, splits: tuple[str, ...]) -> dict:
    """Returns TFDS's random access to each split that is there, still encoded."""
    tfds = tensorflow_datasets()
    builder = tfds.builder_from_directory(folder)
    decoders = {name: tfds.decode.SkipDecoding() for name in ("image", "mask")}
    stored = {
        split: builder.as_data_source(split, decoders=decoders)
        for split in splits
        if split in builder.info.splits
    }
    for split, source in stored.items():
        wanted = builder.info.splits[split].num_examples
        if len(source) != wanted:
            raise ValueError(f"{split} has {len(source)} of {wanted} examples")
    return stored


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
            image=storage.read_bytes(image_file),
            mask=storage.read_bytes(mask_file),
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
    images, masks = epath.Path(images), epath.Path(masks)
    for folder in (images, masks):
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder; wanted images or masks there")
    found = decode.list_images(images)
    if not found:
        raise UserError(f"{images}: no images; wanted {', '.join(decode.SUFFIXES)}")
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
