"""Reads the mask and the category of each object from files in COCO's format."""

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
    """JSON keys of an annotation file. They differ between data sets.

    Attributes:
        annotations: key of the list of annotations.
        image_id: key of the image id in the elements of the list 'images'. In the
            annotations, the key of the image id is always 'image_id'.
    """

    annotations: str
    image_id: str


class Picture(NamedTuple):
    """An image listed in an annotation file.

    Attributes:
        file_name: name of the image file.
        height: height in pixels.
        width: width in pixels.
        phase: split of the image, 'train' or 'val'; '' if the file does not state the
            split.
    """

    file_name: str
    height: int
    width: int
    phase: str


_SIDE = schema.whole(1, 1 << 16)  # Pixels.
_FARTHEST = 1 << 17  # Limit on coordinates, pixels; polygons may leave their image.
_IMAGE = {"file_name": str, "height": _SIDE, "width": _SIDE, "phase?": str}
_ANNOTATION = {
    "image_id": (int, str),
    "category_id": int,
    "segmentation": (dict, list),
}


class Annotations:
    """Reads the annotations of single images from an annotation file.

    Attributes:
        images: {image id: Picture} of all images that the file lists.
    """

    def __init__(
        self, file: BinaryIO, where: str, keys: Keys, keep: Callable[[dict], bool]
    ):
        """Reads the list of images, and finds the byte position of each annotation.

        Args:
            file: The JSON file; it must stay open.
            where: name of the file for error messages.
            keys: JSON keys of the file.
            keep: function that receives an annotation and returns whether to use the
                annotation.

        Raises:
            UserError: the file is broken, or is not an annotation file with these keys.
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
                    f"{where}: an entry of the list {name!r} is damaged ({wrong});"
                    " download the file again"
                )
            if name == "images":
                self.images[item[keys.image_id]] = Picture(
                    *(item["file_name"], item["height"], item["width"]),
                    phase=item.get("phase", ""),
                )
            elif name == keys.annotations and keep(item):
                self._spans[item["image_id"]].extend((start, stop))
        if not self.images:
            raise UserError(
                f"{where}: the list 'images' is missing or empty; expected the lists"
                f" 'images' and {keys.annotations!r}; download the annotations again"
            )

    def annotated(self) -> list:
        """Returns the sorted ids of the images that have annotations."""
        return sorted((i for i in self._spans if i in self.images), key=_order)

    def of_image(self, image_id: Any) -> Iterator[tuple[int, np.ndarray]]:
        """Yields (category id, mask bool[H, W]) for each annotation of an image.

        The order is that of the annotation file.

        Raises:
            UserError: a segmentation is damaged, or differs from the image in size.
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
    """Returns the mask bool[height, width] of an object.

    Args:
        segmentation: the object's pixels in COCO's format: polygons
            [[x0, y0, x1, y1, ...], ...] in pixels, or run lengths
            {'size': [height, width], 'counts': ...} in column-major order. 'counts' is
            a list or COCO's compressed string.
        height: height of the image, pixels.
        width: width of the image, pixels.
        where: name of the annotation for error messages.

    Raises:
        UserError: the segmentation is damaged, or differs from the image in size.
    """
    try:
        return _pixels(segmentation, height, width, where)
    except (KeyError, TypeError, ValueError, IndexError, MemoryError) as error:
        raise UserError(
            f"{where}: the segmentation cannot be decoded ({error}); expected polygons"
            " or run lengths; download the annotations again"
        ) from None


def _pixels(segmentation, height: int, width: int, where: str) -> np.ndarray:
    from pycocotools import mask as coco_mask  # Only preparation needs it.

    if isinstance(segmentation, dict):
        if list(segmentation["size"]) != [height, width]:
            raise UserError(
                f"{where}: the segmentation has size {segmentation['size']}; expected"
                f" {[height, width]}, the size of the image; download the annotations"
                " that belong to the images"
            )
        if isinstance(counts := segmentation["counts"], list):
            # pycocotools does not check the counts; bad ones can crash the process.
            if not all(type(x) is int and x >= 0 for x in counts):
                raise ValueError("a run length is not a whole number of at least 0")
            if sum(counts) != height * width:
                raise ValueError(
                    f"the run lengths add up to {sum(counts)} pixels, but the image"
                    f" has {height * width} pixels"
                )
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
