"""Computes crop boxes for classification: random in training, centred in evaluation."""

import math
from typing import NamedTuple

import numpy as np
from PIL import Image

_CROP_STREAM = 3  # Makes these random numbers independent of others with this seed.
_TRIES = 10
_LOG_RATIO = math.log(4 / 3)  # The aspect ratio is between 3/4 and 4/3.


class Box(NamedTuple):
    """A rectangle in an image; edges in pixels from the image's top left corner."""

    left: float
    top: float
    right: float
    bottom: float


def draw_box(
    height: int, width: int, *, area_min: float, seed: int, epoch: int, index: int
) -> Box:
    """Samples the box of a random training crop.

    The area and the logarithm of the aspect ratio are uniformly distributed. Aspect
    ratios range from 3/4 to 4/3. If none of ten sampled boxes fits into the image, the
    largest centred box with an aspect ratio in this range is returned.

    Args:
        height, width: size of the image, pixels.
        area_min: smallest area of a sampled box, as a fraction of the image's area, in
            (0, 1].
        seed, epoch, index: The seed of the run, the epoch and the index of the example.
            The random numbers depend only on these three values.

    Source: torchvision's RandomResizedCrop.
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
    """Returns the box of a centred square crop for evaluation.

    The usual evaluation resizes an image until the smaller of height and width is
    `base_size`, and then crops the central `crop_size` x `crop_size` pixels. The box is
    the same region in the image before resizing.
    """
    side = min(height, width) * crop_size / base_size
    left, top = (width - side) / 2, (height - side) / 2
    return Box(left, top, left + side, top + side)


def cut(image: np.ndarray, box: Box, size: int) -> np.ndarray:
    """Crops a box from an image uint8[H, W, 3] and resizes the crop.

    The interpolation is bilinear, with antialiasing.

    Returns:
        uint8[size, size, 3].
    """
    picture = Image.fromarray(image)
    bilinear = Image.Resampling.BILINEAR
    return np.asarray(picture.resize((size, size), bilinear, box=box))
