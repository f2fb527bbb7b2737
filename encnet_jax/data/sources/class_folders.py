"""Reads images that are stored in one folder per class."""

from typing import Any

import numpy as np
from etils import epath

from encnet_jax import storage
from encnet_jax.data.sources.decode import decode_image, image_rules, list_images
from encnet_jax.data.sources.info import DatasetInfo
from encnet_jax.data.sources.records import Example
from encnet_jax.errors import UserError


class ClassFolders:
    """Reads images that are stored in one folder per class.

    Implements the interface pipelines.dataset.Source.
    """

    def __init__(self, info: DatasetInfo, data: Any):
        """Lists the image files of each split.

        Args:
            info: The DatasetInfo of the data set.
            data: Section `data` of the configuration.

        Raises:
            UserError: the folder of a class has no images.
        """
        self._rules = image_rules(data)
        self._files: dict[str, list[tuple[epath.Path, int]]] = {}
        for split in info.splits:
            folder = epath.Path(data.folder.images.replace("{split}", split))
            self._files[split] = [
                (path, label)
                for label, name in enumerate(info.class_names)
                for path in _images(folder / name)
            ]

    def sizes(self) -> dict[str, int]:
        """Returns {split: number of images}."""
        return {split: len(files) for split, files in self._files.items()}

    def example(self, split: str, index: int) -> Example:
        """Returns an example, whose label is the class id as an i32 scalar.

        Raises:
            UserError: the image file is broken.
        """
        path, label = self._files[split][index]
        content = storage.read_bytes(path, self._rules.max_bytes)
        image = decode_image(content, str(path), self._rules)
        return Example(
            f"{path.parent.name}/{path.name}", image, np.asarray(label, np.int32)
        )


def _images(folder: epath.Path) -> list[epath.Path]:
    found = list_images(folder)
    if not found:
        raise UserError(
            f"{folder}: the class folder has no images; add images (.jpg, .png and so"
            " on) or remove the folder"
        )
    return found
