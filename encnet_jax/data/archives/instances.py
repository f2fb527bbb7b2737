"""Annotation files in COCO's format: the pixels and category of each object."""

import array
import collections
import json
import os
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from encnet_jax.data.archives.json_stream import array_items
from encnet_jax.errors import UserError
from encnet_jax.storage import schema


class Keys(NamedTuple):
    """Names of the keys of an annotation file."""

    annotations: str
    image_id: str  # Key of an image's own id; annotations always use 'image_id'.


class Picture(NamedTuple):
    """An image of the annotation file; height and width in pixels."""

    file_name: str
    height: int
    width: int
    phase: str  # 'train' or 'val' if the file has both, otherwise ''.


_SIDE = schema.whole(1, 1 << 16)  # Pixels.
_FARTHEST = 1 << 17  # Pixels; largest coordinate, as polygons may leave their image.
_IMAGE = {"file_name": str, "height": _SIDE, "width": _SIDE, "phase?": str}
_ANNOTATION = {
    "image_id": (int, str),
    "category_id": int,
    "segmentation": (dict, list),
}


class Annotations:
    """The annotations of each image, read from the file on demand.

    Attributes:
        images: id -> image, for all images of the file.
    """

    def __init__(
        self, file: BinaryIO, where: str, keys: Keys, keep: Callable[[dict], bool]
    ):
        """Records the position of each annotation in the file, but not its contents.

        Args:
            file: The JSON file; it must stay open.
            where: name of the file in error messages.
            keys: names of the file's keys.
            keep: returns whether an annotation is used.

        Raises:
            UserError: the file has a different format.
        """
        self._file, self._where = file, where
        self._spans: dict[Any, array.array] = collections.defaultdict(
            lambda: array.array("q")
        )
        self.images: dict[Any, Picture] = {}
        shapes = {
            "images": _IMAGE | {keys.image_id: (int, str)},
            keys.annotations: _ANNOTATION,
        }
        for name, item, start, stop in array_items(file, where):
            wrong = name in shapes and schema.problem(item, shapes[name])
            if wrong:
                raise UserError(
                    f"{where}: an entry of {name} is damaged ({wrong}); download it"
                    " again"
                )
            if name == "images":
                self.images[item[keys.image_id]] = Picture(
                    *(item["file_name"], item["height"], item["width"]),
                    phase=item.get("phase", ""),
                )
            elif name == keys.annotations and keep(item):
                self._spans[item["image_id"]].extend((start, stop))
        if not self.images:
            raise UserError(f"{where}: lists no images; expected {keys.annotations}")

    def annotated(self) -> list:
        """Returns the ids of the images that have annotations, in order."""
        return sorted((i for i in self._spans if i in self.images), key=_order)

    def of_image(self, image_id: Any) -> Iterator[tuple[int, np.ndarray]]:
        """Yields (category id, bool[H, W]) of each annotation, in the file's order.

        Raises:
            UserError: a segmentation does not match the size of its image.
        """
        image = self.images[image_id]
        spans = self._spans[image_id]
        for start, stop in zip(spans[::2], spans[1::2], strict=True):
            item = json.loads(os.pread(self._file.fileno(), stop - start, start))
            where = f"{self._where}, annotation {item.get('id')}"
            pixels = decode_segmentation(
                item["segmentation"], image.height, image.width, where
            )
            yield item["category_id"], pixels


def _order(image_id: int | str) -> tuple:
    return (isinstance(image_id, str), image_id)


def decode_segmentation(
    segmentation: dict | list, height: int, width: int, where: str
) -> np.ndarray:
    """Returns bool[height, width], the pixels of an object.

    Args:
        segmentation: Polygons [[x0, y0, x1, y1, ...], ...], or run lengths by columns
            {'size': [height, width], 'counts': list or compressed string}.
        height: height of the image, pixels.
        width: width of the image, pixels.
        where: name of the annotation in error messages.

    Raises:
        UserError: the run lengths have a different size, or the format is unknown.
    """
    try:
        return _pixels(segmentation, height, width, where)
    except (KeyError, TypeError, ValueError, IndexError, MemoryError) as error:
        raise UserError(
            f"{where}: its segmentation is neither polygons nor run lengths"
            f" ({error}); download the annotations again"
        ) from None


def _pixels(segmentation, height: int, width: int, where: str) -> np.ndarray:
    from pycocotools import mask as coco_mask  # Only preparation needs it.

    if isinstance(segmentation, dict):
        if list(segmentation["size"]) != [height, width]:
            raise UserError(
                f"{where}: has size {segmentation['size']}, its image"
                f" {[height, width]}; expected equal sizes, so download the annotations"
                " of these images"
            )
        if isinstance(counts := segmentation["counts"], list):
            # pycocotools does not check the counts; bad ones can crash the process.
            if not all(type(x) is int and x >= 0 for x in counts):
                raise ValueError("a run length is not a whole number of at least 0")
            if sum(counts) != height * width:
                raise ValueError("the run lengths do not add up to its image")
            segmentation = coco_mask.frPyObjects(segmentation, height, width)
        return coco_mask.decode(segmentation).astype(bool)
    if any(len(polygon) % 2 for polygon in segmentation):
        raise ValueError("a polygon has an odd number of coordinates")
    numbers = [number for polygon in segmentation for number in polygon]
    if not all(type(x) in (int, float) and abs(x) <= _FARTHEST for x in numbers):
        raise ValueError(
            f"a coordinate is not a number from {-_FARTHEST} to {_FARTHEST}"
        )
    # pycocotools would read four numbers as a box; two points enclose no pixels.
    polygons = [polygon for polygon in segmentation if len(polygon) >= 6]
    if not polygons:
        return np.zeros((height, width), bool)
    parts = coco_mask.frPyObjects(polygons, height, width)
    return coco_mask.decode(coco_mask.merge(parts)).astype(bool)
