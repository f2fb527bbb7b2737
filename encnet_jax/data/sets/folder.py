"""A user's data set: folders of images and folders of masks that contain class ids."""

import re
from typing import Any

import numpy as np

from encnet_jax.data.sources.decode import image_rules
from encnet_jax.data.sources.folders import FolderSource
from encnet_jax.data.sources.info import (
    UNKNOWN_ID,
    DatasetInfo,
    consecutive_ids,
    voc_colours,
)
from encnet_jax.errors import UserError


def folder_info(data: Any) -> DatasetInfo:
    """Returns the DatasetInfo of the data set that section `data.folder` describes.

    Args:
        data: Section `data` of the configuration.

    Raises:
        UserError: a required field of data.folder is empty, or a field is invalid.
    """
    folder = data.folder
    names, ignore_ids = tuple(folder.class_names), tuple(folder.ignore_ids)
    for field in ("images", "masks", "class_names"):
        if not getattr(folder, field):
            raise UserError(
                f"data.name is 'folder', but data.folder.{field} is empty; set the"
                " fields images, masks and class_names of data.folder (see"
                " docs/fields.md)"
            )
    joined = [name for name in names if "," in name]
    if joined:
        raise UserError(
            f"data.folder.class_names has the name {joined[0]!r}, which contains a"
            " comma; expected one name per class, such as"
            " --config.data.folder.class_names=\"('road', 'other')\""
        )
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise UserError(
            f"data.folder.class_names has {min(twice)!r} twice; expected distinct names"
        )
    last_id = folder.first_id + len(names) - 1
    if not 0 <= folder.first_id <= last_id <= 255 or len(names) > UNKNOWN_ID:
        raise UserError(
            f"data.folder.class_names has {len(names)} names and data.folder.first_id"
            f" is {folder.first_id}, so the class ids are {folder.first_id}..{last_id};"
            " expected at most 254 classes and ids in 0..255"
        )
    class_ids = range(folder.first_id, last_id + 1)
    bad = [i for i in ignore_ids if i not in range(256) or i in class_ids]
    if bad:
        raise UserError(
            f"data.folder.ignore_ids contains {bad[0]}; expected values in 0..255 that"
            f" are not class ids ({folder.first_id}..{last_id})"
        )
    return DatasetInfo(
        name="folder",
        class_names=names,
        colours=_colours(tuple(folder.colours), len(names)),
        id_map=consecutive_ids(
            len(names), first_id=folder.first_id, ignore_ids=ignore_ids
        ),
        splits=tuple(filter(None, dict.fromkeys([data.train_split, data.val_split]))),
        source=f"{folder.images} and {folder.masks}",
        preparation="nothing to do: the files are read where they are",
        open_source=open_source,
    )


def _colours(words: tuple[str, ...], count: int) -> np.ndarray:
    """Converts strings '#rrggbb' to RGB colours uint8[count, 3].

    If `words` is empty, returns colours of PASCAL VOC's palette.
    """
    if not words:
        return voc_colours(count + 1)[1:]
    wrong = [word for word in words if not re.fullmatch("#[0-9a-fA-F]{6}", word)]
    if wrong or len(words) != count:
        found = repr(wrong[0]) if wrong else f"{len(words)} colours"
        raise UserError(
            f"data.folder.colours has {found}; expected one colour such as '#4682b4'"
            f" for each of the {count} names in data.folder.class_names"
        )
    return np.array([[*bytes.fromhex(word[1:])] for word in words], np.uint8)


def open_source(
    info: DatasetInfo, data: Any, *, require_masks: bool = True
) -> FolderSource:
    """Returns a source that reads the folders in section `data.folder`.

    If `require_masks` is False, an image without a mask is reported only when its
    example is read.
    """
    rules = image_rules(data)
    return FolderSource(info, data.folder, rules, require_masks=require_masks)


DATA_SET = folder_info
