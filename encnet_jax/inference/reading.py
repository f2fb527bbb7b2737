"""Converts arrays, Pillow images and image files to uint8[H, W, 3]."""

import os
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageOps

from encnet_jax import storage
from encnet_jax.data.sources import decode
from encnet_jax.data.sources.decode import DEFAULT_RULES, ImageRules
from encnet_jax.errors import UserError

ImageLike: TypeAlias = np.ndarray | Image.Image | str | os.PathLike


def read(source: ImageLike, rules: ImageRules = DEFAULT_RULES) -> np.ndarray:
    """Reads an image as uint8[H, W, 3] in the order red, green, blue.

    Files are decoded as in training; see data.sources.decode. Grey images are converted
    to three equal channels, and the EXIF orientation is applied.

    Args:
        source: array [H, W, 3] or [H, W] of any real dtype, a Pillow image, or the path
            of a file on a disk or in an object store.
        rules: limits on files and images, and the values of black and white
            (`value_range`) for images that are not 8-bit.

    Raises:
        UserError: the file is unreadable or too large, the image has several frames or
            more than three channels, an image that is not 8-bit has no value range, or
            an array has neither shape [H, W, 3] nor [H, W].
    """
    if isinstance(source, np.ndarray):
        return _three_channels(_of_8_bits(source, rules, "the array"), "the array")
    if isinstance(source, Image.Image):
        return _from_pillow(source, rules)
    if not isinstance(source, (str, os.PathLike)):
        raise UserError(
            f"an image has the type {type(source).__name__}; expected an array, a"
            " Pillow image or a path"
        )
    encoded = storage.read_bytes(source, rules.max_bytes)
    return decode.decode_image(encoded, os.fspath(source), rules)


def _from_pillow(picture: Image.Image, rules: ImageRules) -> np.ndarray:
    frames = getattr(picture, "n_frames", 1)
    if frames > 1 and picture.format != "MPO":  # In MPO files, frame 0 is the photo.
        raise UserError(f"the image has {frames} frames; expected a still image")
    if len(picture.getbands()) > 3:
        raise UserError(
            f"the image has the channels {'+'.join(picture.getbands())}; expected grey"
            " or RGB: convert the image first"
        )
    picture = ImageOps.exif_transpose(picture)
    if picture.mode[0] not in "IF":  # Not 16-bit, 32-bit or float grey.
        return np.asarray(picture.convert("RGB"))
    values = _of_8_bits(np.asarray(picture), rules, "the image")
    return _three_channels(values, "the image")


def _of_8_bits(array: np.ndarray, rules: ImageRules, name: str) -> np.ndarray:
    """Converts pixels to uint8: maps `rules.value_range` linearly to 0..255.

    Args:
        array: pixels of any shape and any real dtype; uint8 is returned unchanged.
        rules: rules with the values of black and white.
        name: description of the array for error messages.
    """
    if array.dtype == np.uint8:
        return array
    if not rules.value_range:
        raise UserError(
            f"{name} has dtype {array.dtype}; expected uint8: convert the values, or"
            " set data.value_range to the values of black and white, such as [0, 65535]"
        )
    black, white = rules.value_range
    shares = (array.astype(np.float32) - black) / (white - black)
    return np.round(255 * np.clip(shares, 0, 1)).astype(np.uint8)


def _three_channels(array: np.ndarray, name: str) -> np.ndarray:
    if array.ndim == 2 and array.size:
        return np.repeat(array[..., None], 3, axis=-1)
    if array.ndim != 3 or array.shape[-1] != 3 or not array.size:
        raise UserError(f"{name} has shape {array.shape}; expected [H, W, 3] or [H, W]")
    return array
