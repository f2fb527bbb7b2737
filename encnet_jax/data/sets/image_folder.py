"""A user's data set for classification: images in one folder per class."""

from typing import Any

import numpy as np
from etils import epath

from encnet_jax.data.sources.info import UNKNOWN_ID, DatasetInfo, voc_colours
from encnet_jax.errors import UserError
from encnet_jax.storage import lookup


def image_folder_info(data: Any) -> DatasetInfo:
    """Returns the DatasetInfo of images that are stored in one folder per class.

    In the path data.folder.images, '{split}' is replaced by the name of the split. Each
    subfolder of the resulting folder is a class.

    Args:
        data: Section `data` of the configuration.

    Raises:
        UserError: data.folder.images is empty; there are two splits, but
            data.folder.images does not contain '{split}'; the folder of a split is
            missing or has fewer than two subfolders; or the splits have different
            subfolders.
    """
    pattern = data.folder.images
    splits = tuple(s for s in dict.fromkeys([data.train_split, data.val_split]) if s)
    if not pattern:
        raise UserError(
            "data.name is 'image_folder', but data.folder.images is empty; set"
            " this field, for example --config.data.folder.images='my_data/{split}'"
        )
    if len(splits) > 1 and "{split}" not in pattern:
        raise UserError(
            f"data.folder.images is {pattern!r}, so the splits {' and '.join(splits)}"
            " have the same images; put '{split}' into data.folder.images, or leave"
            " data.val_split empty"
        )
    classes = {split: _classes(pattern.replace("{split}", split)) for split in splits}
    first = splits[0]
    for split in splits[1:]:
        only = sorted(set(classes[first]) ^ set(classes[split]))
        if only:
            there, lacking = first, split
            if only[0] in classes[split]:
                there, lacking = split, first
            raise UserError(
                f"{pattern}: the split {there} has the class folder {only[0]!r}, but"
                f" the split {lacking} does not ({len(only)} class folders are in only"
                " one split); expected the same class folders in both splits"
            )
    names = classes[first]
    return DatasetInfo(
        name="image_folder",
        class_names=names,
        colours=voc_colours(len(names) + 1)[1:],
        id_map=np.full(256, UNKNOWN_ID, np.uint8),  # There are no masks.
        splits=splits,
        source=pattern,
        preparation="nothing to do: the files are read where they are",
        task="classification",
        open_dataset=_open,
    )


def _classes(folder: str) -> tuple[str, ...]:
    path = epath.Path(folder)
    if not lookup.is_folder(path):
        raise UserError(
            f"{folder}: no such folder; expected a folder with one subfolder per class"
        )
    found = sorted(
        each.name
        for each in lookup.entries(path)
        if each.is_dir() and not each.name.startswith(".")
    )
    if len(found) < 2:
        held = f"only one subfolder, {found[0]!r}" if found else "no subfolders"
        raise UserError(
            f"{folder}: has {held}; expected two or more subfolders, one per class"
        )
    return tuple(found)


def _open(info: DatasetInfo, data: Any) -> Any:
    from encnet_jax.data.pipelines.image_files import ImageFiles
    from encnet_jax.data.sources.class_folders import ClassFolders

    return ImageFiles(info, ClassFolders(info, data), data)


DATA_SET = image_folder_info
