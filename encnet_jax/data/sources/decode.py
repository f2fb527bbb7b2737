"""Decodes images and masks.

TensorFlow may decode a file instead of this module, but only if both return the same
pixels; see `tensorflow_decodes`. The format of a file is detected from its first bytes,
never from its name.
"""

import contextlib
import io
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from etils import epath
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from encnet_jax.errors import UserError, explained
from encnet_jax.storage import lookup

# Silences warnings about damaged tags: undecodable files are rejected anyway.
warnings.filterwarnings("ignore", module=r"PIL\.TiffImagePlugin")
SUFFIXES = (
    *(".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"),
)
MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff")
# Image formats that are not supported; such files in an image folder are reported.
_OTHER_SUFFIXES = (
    *(".avif", ".heic", ".heif", ".jp2", ".jxl", ".pgm", ".ppm", ".pnm", ".tga"),
    *(".exr", ".hdr", ".svg", ".dng", ".cr2", ".nef", ".npy", ".jpe"),
)
_EXPECTED = "a complete JPEG, PNG, WebP, BMP, GIF or TIFF file"
_ORIENTATION = 0x0112  # EXIF tag: 1 as stored, 2..8 mirrored or rotated.

# Files are opened by these classes: Image.open would apply Pillow's global size limit.
_KINDS = (
    ((b"\xff\xd8\xff",), JpegImagePlugin.JpegImageFile),
    ((b"\x89PNG\r\n\x1a\n",), PngImagePlugin.PngImageFile),
    ((b"RIFF",), WebPImagePlugin.WebPImageFile),
    ((b"BM",), BmpImagePlugin.BmpImageFile),
    ((b"GIF8",), GifImagePlugin.GifImageFile),
    ((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), TiffImagePlugin.TiffImageFile),
)
_COLOUR_MODES = ("1", "L", "LA", "P", "PA", "RGB", "YCbCr")
# Pillow scales masks of these modes to 0..255; dividing gives the stored value.
_SCALED_BY = {"L;2": 85, "L;4": 17}


def list_images(folder: epath.Path) -> list[epath.Path]:
    """Returns the sorted paths of the image files in a folder.

    An image file has a suffix in SUFFIXES. Files whose name begins with a dot are
    ignored: macOS writes '._x.jpg' next to 'x.jpg'.
    """
    return [
        path
        for path in lookup.entries(folder)
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    ]


def not_listed(folder: epath.Path) -> list[str]:
    """Returns the sorted names of a folder's subfolders and unsupported images.

    Names that begin with a dot are omitted. The name of a subfolder ends in '/'.
    """
    names = []
    for path in lookup.entries(folder):
        if path.name.startswith("."):
            continue
        if path.suffix.lower() in _OTHER_SUFFIXES:
            names.append(path.name)
        elif path.suffix.lower() not in SUFFIXES and path.is_dir():
            names.append(f"{path.name}/")
    return sorted(names)


class ImageRules(NamedTuple):
    """Limits on images.

    Attributes:
        max_pixels: limit on the product of width and height; larger images are not
            decoded.
        value_range: (low, high), the values that are mapped to 0 and 255 in grey images
            of more than 8 bits; if empty, grey images of more than 8 bits are rejected.
        max_bytes: limit on the size of a file in bytes; larger files are not read.
        note: function that is called with a message when a CMYK image is converted to
            RGB or when transparency is dropped from a colour image. If `note` is None,
            these images are rejected.
    """

    max_pixels: float = 200e6
    value_range: tuple[float, ...] = ()
    max_bytes: int = 1 << 30
    note: Callable[[str], None] | None = None


DEFAULT_RULES = ImageRules()


def image_rules(data: Any) -> ImageRules:
    """Returns the limits on images that section `data` of a configuration sets."""
    max_bytes = min(int(data.max_file_mib * 2**20), ImageRules().max_bytes)
    return ImageRules(data.max_megapixels * 1e6, tuple(data.value_range), max_bytes)


class Decoded(NamedTuple):
    """A decoded image.

    Attributes:
        pixels: uint8[H, W, 3] in RGB, with the EXIF orientation applied.
        orientation: EXIF orientation of the stored image, 1..8; 1 is upright.
    """

    pixels: np.ndarray
    orientation: int


def decode_image(
    encoded: bytes, file: str, rules: ImageRules = DEFAULT_RULES
) -> np.ndarray:
    """Decodes an image to RGB uint8[H, W, 3] and applies its EXIF orientation.

    The transparency of grey images and palette images is dropped. EXIF data that cannot
    be parsed are ignored.

    Args:
        encoded: the bytes of the file.
        file: name of the file in error messages.
        rules: limits on the image.

    Raises:
        UserError: the image is broken, animated or too large; its format is not
            supported; or `rules` excludes its channels or bit depth.
    """
    return decode(encoded, file, rules).pixels


def decode(encoded: bytes, file: str, rules: ImageRules = DEFAULT_RULES) -> Decoded:
    """Decodes an image to its pixels and its EXIF orientation.

    The arguments and errors are those of decode_image.
    """
    with _named(file):
        image = _opened(encoded, file, rules)
        rawmode = _rawmode(image)
        image.load()
        _check_mode(image, rawmode, file, rules)
        if _is_deep(image):
            pixels = _scaled(np.asarray(image), rules.value_range, file)
        else:
            pixels = np.asarray(image.convert("RGB"))
        orientation = _orientation(image)
        return Decoded(_turned(pixels, orientation), orientation)


def decode_mask(
    encoded: bytes, file: str, rules: ImageRules = DEFAULT_RULES
) -> np.ndarray:
    """Decodes a mask to its stored class ids uint8[H, W], which are not yet train ids.

    The EXIF orientation is applied. In a palette image, the class ids are the palette
    indices. Values of 16-bit and 32-bit images must be in 0..255. An alpha channel is
    dropped if it is constant.

    Args:
        encoded: the bytes of a PNG, BMP or TIFF.
        file: name of the file in error messages.
        rules: limits on images; only `max_pixels` is used.

    Raises:
        UserError: the mask is broken, too large, or not a single channel of class ids.
    """
    with _named(file):
        mask = _opened(encoded, file, rules)
        if mask.format == "JPEG":
            raise UserError(
                f"{file}: the mask is a JPEG, whose compression changes class ids;"
                " expected a PNG; create the mask again as a PNG"
            )
        rawmode = _rawmode(mask)
        mask.load()
        values, orientation = np.asarray(mask), _orientation(mask)
        if mask.mode[0] == "I" and values.min() >= 0 and values.max() <= 255:
            return _turned(values.astype(np.uint8), orientation)
        if _is_deep(mask):
            raise UserError(
                f"{file}: the mask has values of more than 8 bits (mode {mask.mode},"
                f" {values.min()} to {values.max()}); expected one channel of class"
                " ids, which are whole numbers from 0 to 255"
            )
        if mask.mode == "LA" and ";16" not in rawmode and np.ptp(values[..., 1]) == 0:
            mask = mask.getchannel("L")
        if mask.mode not in ("L", "P", "1"):
            raise UserError(
                f"{file}: the mask has mode {mask.mode}; expected one 8-bit channel of"
                " class ids (mode L or P); convert colours to class ids"
            )
        ids = np.asarray(mask, np.uint8) // np.uint8(_SCALED_BY.get(rawmode, 1))
        return _turned(ids, orientation)


def encode_png(pixels: np.ndarray) -> bytes:
    """Encodes grey pixels uint8[H, W] or RGB pixels uint8[H, W, 3] as a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def image_size(
    encoded: bytes, file: str, rules: ImageRules = DEFAULT_RULES
) -> tuple[int, int]:
    """Returns (height, width) of an image after its EXIF orientation is applied.

    Usually, only the header of the file is read.

    Raises:
        UserError: the header is broken, or the image is too large.
    """
    with _named(file):
        image = _opened(encoded, file, rules)
        if image.format == "TIFF" or image.format == "PNG" and _is_plain_png(encoded):
            return image.size[::-1]  # Pillow would decode a PNG for its orientation.
        turned = _orientation(image) >= 5
        return image.size if turned else image.size[::-1]


def tensorflow_decodes(
    encoded: bytes, file: str, rules: ImageRules, *, mask: bool = False
) -> bool:
    """Returns whether TensorFlow decodes a file to the same pixels as this module.

    Returns True only for common files that look complete and are not rotated by EXIF.
    Images must be JPEGs or 8-bit PNGs, in grey or RGB; masks must be grey 8-bit PNGs.

    Raises:
        UserError: the header is broken, or the image is too large.
    """
    with _named(file):
        image = _opened(encoded, file, rules)
        modes = ("L",) if mask else ("L", "RGB")
        if image.mode not in modes or _rawmode(image) != image.mode:
            return False
        if image.format == "PNG":
            # The orientation may be at the end: Pillow would decode all pixels first.
            return _is_plain_png(encoded)
        jpeg = image.format == "JPEG" and not mask and encoded.endswith(b"\xff\xd9")
        return jpeg and _orientation(image) == 1


def _named(file: str) -> contextlib.AbstractContextManager:
    """Returns a context manager that converts decoding errors to UserError."""
    advice = f"expected {_EXPECTED}; copy the file again or remove the file"
    return explained(file, "cannot be decoded", advice)


def _opened(encoded: bytes, file: str, rules: ImageRules) -> Image.Image:
    """Opens an image and checks its size and number of frames; decodes no pixels."""
    if not encoded:
        raise ValueError("the file is empty")
    kind = next((k for marks, k in _KINDS if encoded.startswith(marks)), None)
    if kind is None:
        raise ValueError("the first bytes match no supported image format")
    image = kind(io.BytesIO(encoded))
    width, height = image.size
    if width * height > rules.max_pixels:
        raise UserError(
            f"{file}: has {width}x{height} pixels; expected at most"
            f" {rules.max_pixels:.0f} pixels; raise the limit data.max_megapixels if"
            " you trust the file"
        )
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        raise UserError(
            f"{file}: has {frames} frames; expected a still image: extract one frame"
        )
    return image


def _rawmode(image: Image.Image) -> str:
    """Returns Pillow's name of a file's pixel format, such as 'RGB;16B' or 'L;4'."""
    tile = getattr(image, "tile", None)
    if not tile:
        return ""
    arguments = tile[0][3]
    name = arguments[0] if isinstance(arguments, tuple) else arguments
    return name if isinstance(name, str) else ""


def _is_deep(image: Image.Image) -> bool:
    return image.mode[0] in "IF"  # I, I;16, I;16B, F.


def _check_mode(image, rawmode: str, file: str, rules: ImageRules) -> None:
    """Raises UserError if `rules` excludes the channels or bit depth of an image."""
    deep = _is_deep(image)
    # Pillow would silently drop the lower 8 bits of these samples.
    if ";16" in rawmode and not deep:
        raise UserError(
            f"{file}: has 16 bits per channel ({rawmode}); expected 8 bits: convert the"
            " image to 8 bits"
        )
    if not deep and image.mode not in _COLOUR_MODES:
        transparent = image.mode[-1] in "Aa"
        if rules.note and image.mode in ("RGBA", "RGBa", "La", "CMYK"):
            done = "the transparency is dropped" if transparent else "converted to RGB"
            rules.note(f"{file}: has channels {image.mode}; {done}")
            return
        fix = "remove the transparency" if transparent else "convert the image to RGB"
        raise UserError(
            f"{file}: has channels {image.mode}; expected RGB or grey: {fix}"
        )
    if deep and not rules.value_range:
        raise UserError(
            f"{file}: has values of more than 8 bits (mode {rawmode or image.mode});"
            " convert the image to 8 bits, or set data.value_range to the values of"
            " black and white, such as (0, 65535)"
        )


def _scaled(values: np.ndarray, value_range: tuple, file: str) -> np.ndarray:
    """Maps grey values from `value_range` to 0..255; returns RGB uint8[H, W, 3].

    Values outside `value_range` are clipped.
    """
    values = values.astype(np.float64)
    bad = np.count_nonzero(~np.isfinite(values))
    if bad:
        raise UserError(
            f"{file}: has {bad} pixels that are NaN or infinite; expected finite"
            " values; replace these pixels"
        )
    low, high = value_range
    grey = np.rint(255 * (values.clip(low, high) - low) / (high - low))
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)


def _orientation(image: Image.Image) -> int:
    """Returns the EXIF orientation, 1..8.

    For a loaded TIFF file, returns 1, because Pillow rotates TIFF files while loading.
    """
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # Browsers also show images with damaged EXIF data.
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _is_plain_png(encoded: bytes) -> bool:
    """Returns whether a PNG is complete and has no chunk that may change its pixels."""
    place = 8
    while (kind := encoded[place + 4 : place + 8]) != b"IEND":
        text = encoded[place + 8 : place + 19]
        profile = kind in (b"tEXt", b"zTXt") and text == b"Raw profile"
        if profile or kind in (b"eXIf", b"iTXt", b"tRNS", b""):
            return False
        place += 12 + int.from_bytes(encoded[place : place + 4])
    return place + 12 == len(encoded)


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Mirrors and rotates pixels [H, W, ...] according to an EXIF orientation, 1..8.

    Source: EXIF 2.3, tag 274.
    """
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
