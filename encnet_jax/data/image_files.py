"""Image files with one label each: random resized crops, and the centre to score on."""

import math
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from encnet_jax.data.augment import draw
from encnet_jax.data.augment_pillow import change_colours
from encnet_jax.data.catalogue import DatasetInfo
from encnet_jax.data.dataset import Source
from encnet_jax.data.decode import ImageRules, decode_image
from encnet_jax.data.pipeline_pillow import PillowDataset
from encnet_jax.data.records import Example
from encnet_jax.data.tensorflow_import import prepared_builder, tensorflow_datasets
from encnet_jax.errors import UserError

_CROP_STREAM = 3  # Keeps these random numbers apart from other users of the seed.
_TRIES = 10
_LOG_RATIO = math.log(4 / 3)  # Width over height is within 3/4 and 4/3.


class Box(NamedTuple):
    """Part of an image, in pixels from its top left corner."""

    left: float
    top: float
    right: float
    bottom: float


def draw_box(
    height: int, width: int, *, area_min: float, seed: int, epoch: int, index: int
) -> Box:
    """Draws the part of an image that a training crop shows.

    Args:
        height, width: of the image.
        area_min: the part has at least this share of the area, in (0, 1].
        seed, epoch, index: the result is a function of the arguments alone.

    Source: torchvision's RandomResizedCrop: area uniform, log of the ratio uniform, ten
    tries, then the largest centred part of an allowed ratio.
    """
    rng = np.random.default_rng([_CROP_STREAM, seed, epoch, index])
    for share, ratio, u, v in rng.random((_TRIES, 4)):
        area = height * width * (area_min + (1 - area_min) * share)
        ratio = math.exp(_LOG_RATIO * (2 * ratio - 1))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(u * (width - w + 1)), int(v * (height - h + 1))
            return Box(left, top, left + w, top + h)
    w = min(width, round(height * math.exp(_LOG_RATIO)))
    h = min(height, round(width * math.exp(_LOG_RATIO)))
    left, top = (width - w) // 2, (height - h) // 2
    return Box(left, top, left + w, top + h)


def centre_box(height: int, width: int, *, base_size: int, crop_size: int) -> Box:
    """Returns the centred square, crop_size wide if the short side were base_size."""
    side = min(height, width) * crop_size / base_size
    left, top = (width - side) / 2, (height - side) / 2
    return Box(left, top, left + side, top + side)


def cut(image: np.ndarray, box: Box, size: int) -> np.ndarray:
    """Returns u8[size, size, 3]: a part of u8[H, W, 3], resized with antialiasing."""
    picture = Image.fromarray(image)
    bilinear = Image.Resampling.BILINEAR
    return np.asarray(picture.resize((size, size), bilinear, box=box))


class TfdsImages:
    """Images and labels that TFDS prepared as array records; see Source."""

    def __init__(self, info: DatasetInfo, data_dir: str, rules: ImageRules):
        """Opens the data set.

        Args:
            info: The data set.
            data_dir: Where it is prepared.
            rules: What images may be.

        Raises:
            UserError: it is not prepared in data_dir, or in another format.
        """
        builder, tfds = prepared_builder(info, data_dir), tensorflow_datasets()
        skip = {"image": tfds.decode.SkipDecoding()}
        try:
            self._splits = {
                split: builder.as_data_source(split, decoders=skip)
                for split in info.splits
            }
        except NotImplementedError:
            raise UserError(
                f"{builder.data_path} is not in array records, which can be read in any"
                f" order; {info.how_to_prepare(data_dir)}"
            ) from None
        self._rules = rules
        self._where = os.fspath(builder.data_path)

    def sizes(self) -> dict[str, int]:
        """Returns the number of images of each split."""
        return {split: len(records) for split, records in self._splits.items()}

    def example(self, split: str, index: int) -> Example:
        """Returns an image, its label an i32[]; raises UserError if it is broken."""
        record = self._splits[split][index]
        name = f"{split}_{index:07d}"
        image = decode_image(record["image"], f"{self._where}, {name}", self._rules)
        return Example(name, image, np.int32(record["label"]))


class ImageFiles(PillowDataset):
    """Decodes and crops with Pillow; labels are i32[B], images of data.crop_size."""

    def __init__(self, info: DatasetInfo, source: Source, data: Any):
        """See Dataset.

        Raises:
            UserError: data.crop_size is larger than data.augment.base_size.
        """
        super().__init__(info, source, data)
        if data.crop_size > data.augment.base_size:
            raise UserError(
                f"data.crop_size is {data.crop_size}, and images are scored at short"
                f" side data.augment.base_size {data.augment.base_size}: wanted at"
                " least as much"
            )

    def _augmented(self, example: Example, **drawn_by: int) -> tuple:
        """See PillowDataset; a random part, mirrored at random, in changed colours."""
        augment = self.data.augment
        height, width = example.image.shape[:2]
        box = draw_box(height, width, area_min=augment.area_min, **drawn_by)
        params = draw(augment, **drawn_by)
        image = cut(example.image, box, self.data.crop_size)
        image = change_colours(image[:, ::-1] if params.flip else image, params)
        return image, example.label

    def eval_examples(self, split: str, **share: int) -> Iterator[dict]:
        """See Dataset.eval_examples; images are centre crops of data.crop_size."""
        size, base_size = self.data.crop_size, self.data.augment.base_size
        for example in super().eval_examples(split, **share):
            height, width = example["image"].shape[:2]
            box = centre_box(height, width, base_size=base_size, crop_size=size)
            yield example | {"image": cut(example["image"], box, size)}
