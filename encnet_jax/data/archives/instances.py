"""Reads annotation files in COCO's format: the pixels and category of each object."""

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
    """The JSON keys that differ between the annotation files of data sets.

    Attributes:
        annotations: key of the list of annotations.
        image_id: key of the id in the entry of an image. In the entry of an annotation,
            this key is always 'image_id'.
    """

    annotations: str
    image_id: str


class Picture(NamedTuple):
    """An image listed in an annotation file.

    Attributes:
        file_name: name of the image file.
        height: height in pixels.
        width: width in pixels.
        phase: 'train' or 'val' if the annotation file has both splits, otherwise ''.
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
    """Reads the annotations in an annotation file on demand.

    Attributes:
        images: {image id: image} of all images in the file.
    """

    def __init__(
        self, file: BinaryIO, where: str, keys: Keys, keep: Callable[[dict], bool]
    ):
        """Stores the position of each annotation in the file, not its contents.

        Args:
            file: The JSON file; it must stay open.
            where: name of the file in error messages.
            keys: JSON keys of the file.
            keep: function of an annotation that returns whether to use it.

        Raises:
            UserError: the file is broken or is not an annotation file with these keys.
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
                    f"{where}: an entry of {name} is damaged ({wrong}); download the"
                    " file again"
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
                f"{where}: lists no images; expected an annotation file with the lists"
                f" images and {keys.annotations}"
            )

    def annotated(self) -> list:
        """Returns the sorted ids of the images that have annotations."""
        return sorted((i for i in self._spans if i in self.images), key=_order)

    def of_image(self, image_id: Any) -> Iterator[tuple[int, np.ndarray]]:
        """Yields (category id, mask bool[H, W]) of each annotation of an image.

        The annotations are yielded in file order.

        Raises:
            UserError: a segmentation is damaged or has another size than its image.
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
        segmentation: Polygons [[x0, y0, x1, y1, ...], ...] in pixels, or run lengths in
            column-major order, {'size': [height, width], 'counts': list or compressed
            string}.
        height: height of the image, pixels.
        width: width of the image, pixels.
        where: name of the annotation in error messages.

    Raises:
        UserError: the run lengths have another size than the image, or the segmentation
            is damaged.
    """
    try:
        return _pixels(segmentation, height, width, where)
    except (KeyError, TypeError, ValueError, IndexError, MemoryError) as error:
        raise UserError(
            f"{where}: the segmentation cannot be decoded ({error}); expected polygons"
            " or run lengths, so download the annotations again"
        ) from None


def _pixels(segmentation, height: int, width: int, where: str) -> np.ndarray:
    from pycocotools import mask as coco_mask  # Only preparation needs it.

    if isinstance(segmentation, dict):
        if list(segmentation["size"]) != [height, width]:
            raise UserError(
                f"{where}: the segmentation has size {segmentation['size']}, but its"
                f" image has {[height, width]}; expected equal sizes, so download the"
                " annotations that belong to these images"
            )
        if isinstance(counts := segmentation["counts"], list):
            # pycocotools does not check the counts; bad ones can crash the process.
            if not all(type(x) is int and x >= 0 for x in counts):
                raise ValueError("a run length is not a whole number of at least 0")
            if sum(counts) != height * width:
                raise ValueError(
                    "the sum of the run lengths is not the number of pixels"
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
