"""A user's data set: images and index masks in folders."""

from typing import Any

from encnet_jax.data.info import (
    UNKNOWN_ID,
    DatasetInfo,
    consecutive_ids,
    voc_colours,
)
from encnet_jax.data.sources.decode import image_rules
from encnet_jax.data.sources.folders import FolderSource
from encnet_jax.errors import UserError


def folder_info(data: Any) -> DatasetInfo:
    """Returns the data set that data.folder describes.

    Args:
        data: the `data` fields of encnet_jax.config.

    Raises:
        UserError: the fields do not describe a data set.
    """
    folder = data.folder
    names, ignore_ids = tuple(folder.class_names), tuple(folder.ignore_ids)
    if not (names and folder.images and folder.masks):
        raise UserError(
            "data.name is 'folder', but data.folder.images, .masks or .class_names is "
            "empty; set all three (see docs/fields.md)"
        )
    joined = [name for name in names if "," in name]
    if joined:
        raise UserError(
            f"data.folder.class_names has one name {joined[0]!r}; expected one for"
            " each class: --config.data.folder.class_names=\"('road', 'other')\""
        )
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise UserError(
            f"data.folder.class_names has {min(twice)!r} twice; expected different"
            " names"
        )
    last_id = folder.first_id + len(names) - 1
    if not 0 <= folder.first_id <= last_id <= 255 or len(names) > UNKNOWN_ID:
        raise UserError(
            f"data.folder: {len(names)} classes from first_id {folder.first_id} do not "
            "fit mask values 0..255 and at most 254 classes"
        )
    class_ids = range(folder.first_id, last_id + 1)
    bad = [i for i in ignore_ids if i not in range(256) or i in class_ids]
    if bad:
        raise UserError(
            f"data.folder.ignore_ids has {bad[0]}; expected values in 0..255 outside"
            f" the class ids {folder.first_id}..{last_id}"
        )
    return DatasetInfo(
        name="folder",
        class_names=names,
        colours=voc_colours(len(names) + 1)[1:],
        id_map=consecutive_ids(
            len(names), first_id=folder.first_id, ignore_ids=ignore_ids
        ),
        splits=tuple(filter(None, dict.fromkeys([data.train_split, data.val_split]))),
        source=f"{folder.images} and {folder.masks}",
        preparation="nothing to do: the files are read where they are",
        open_source=open_source,
    )


def open_source(
    info: DatasetInfo, data: Any, *, require_masks: bool = True
) -> FolderSource:
    """Lists the files; see FolderSource."""
    rules = image_rules(data)
    return FolderSource(info, data.folder, rules, require_masks=require_masks)


DATA_SET = folder_info
