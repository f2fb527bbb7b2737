"""Images from arrays, Pillow and files, as networks take them; others are refused."""

import contextlib
import os
from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from etils import epath
from PIL import Image, ImageOps, UnidentifiedImageError

from encnet_jax.errors import UserError

ImageLike: TypeAlias = np.ndarray | Image.Image | str | os.PathLike
MAX_PIXELS = 200_000_000  # A small file may claim to be a picture of any size.


def read(
    source: ImageLike,
    *,
    max_pixels: int = MAX_PIXELS,
    value_range: tuple[float, float] | None = None,
) -> np.ndarray:
    """Returns uint8[H, W, 3], red, green, blue.

    Grey images get three equal channels. A file's EXIF orientation is applied.

    Args:
        source: [H, W, 3] or [H, W] of any real type, a picture of Pillow, or the path
            of a file, perhaps in a bucket.
        max_pixels: of a file; larger ones are not decoded.
        value_range: (black, white) of arrays and grey pictures that are not of 8 bits.

    Raises:
        UserError: an unreadable or too large file, several frames, more than three
            channels, values of another range, or an array of another shape.
    """
    if isinstance(source, np.ndarray):
        return _three_channels(_in_range(source, value_range, "the array"), "the array")
    if isinstance(source, Image.Image):
        return _from_pillow(source, value_range, "the picture")
    if not isinstance(source, (str, os.PathLike)):
        raise UserError(
            f"an image is a {type(source).__name__}, wanted an array, a PIL image or a"
            " path"
        )
    path = epath.Path(source)
    try:
        with path.open("rb") as file, _no_limit(), Image.open(file) as picture:
            _check_size(picture, max_pixels, path)
            return _from_pillow(picture, value_range, str(path))
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise UserError(f"{path}: not a readable image ({error})") from None


@contextlib.contextmanager
def _no_limit() -> Iterator[None]:
    """Leaves the limit to _check_size: Pillow's own has no field and no one line."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _check_size(picture: Image.Image, max_pixels: int, path) -> None:
    width, height = picture.size
    if width * height > max_pixels:
        raise UserError(
            f"{path}: {width}x{height} pixels, wanted at most {max_pixels}"
            " (max_pixels); raise it if you trust the file"
        )


def _from_pillow(picture: Image.Image, value_range, name: str) -> np.ndarray:
    # A telephone's MPO has the picture first, then views of it for other uses.
    frames = getattr(picture, "n_frames", 1)
    if frames > 1 and picture.format != "MPO":
        raise UserError(f"{name}: {frames} frames, wanted a still image")
    modes = "RGB", "L", "P", "1", "I;16", "I;16B", "I;16L", "I", "F"
    if picture.mode not in modes or "transparency" in picture.info:
        raise UserError(
            f"{name}: channels {picture.mode}, wanted RGB or grey: remove the"
            " transparency or convert it first"
        )
    # Pillow would drop the lower half of such colours without a word.
    if picture.mode == "RGB" and any("16" in str(tile) for tile in _tiles(picture)):
        raise UserError(f"{name}: 16 bits for each colour, wanted 8: convert it first")
    ImageOps.exif_transpose(picture, in_place=True)
    if picture.mode in ("RGB", "P", "1"):
        return np.asarray(picture.convert("RGB"))
    return _three_channels(_in_range(np.asarray(picture), value_range, name), name)


def _tiles(picture: Image.Image) -> list:
    """Returns how Pillow unpacks each part of a file, 'RGB;16B' for instance."""
    return [tile[3] for tile in getattr(picture, "tile", [])]


def _in_range(array: np.ndarray, value_range, name: str) -> np.ndarray:
    """Returns uint8 values; others are mapped from their range."""
    if array.dtype == np.uint8:
        return array
    if value_range is None:
        raise UserError(
            f"{name}: values of type {array.dtype}, wanted uint8, or the range they"
            " have: value_range=(0, 65535)"
        )
    black, white = value_range
    shares = (array.astype(np.float32) - black) / (white - black)
    return np.round(255 * np.clip(shares, 0, 1)).astype(np.uint8)


def _three_channels(array: np.ndarray, name: str) -> np.ndarray:
    if array.ndim == 2 and array.size:
        return np.repeat(array[..., None], 3, axis=-1)
    if array.ndim != 3 or array.shape[-1] != 3 or not array.size:
        raise UserError(f"{name}: shape {array.shape}, wanted [H, W, 3] or [H, W]")
    return array
