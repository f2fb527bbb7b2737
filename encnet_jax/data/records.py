"""Encoded images and masks: how they are opened, and what may be wrong with them."""

import dataclasses
import io

import numpy as np
from PIL import Image

from encnet_jax.data.catalogue import IGNORE_ID, UNKNOWN_ID, DatasetInfo
from encnet_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Record:
    """One example as stored.

    Attributes:
        name: The example's id, unique in its split.
        image: An encoded JPEG or PNG.
        mask: An encoded PNG of mode 'L' whose values are raw ids.
        image_file: Where the image came from, for error messages.
        mask_file: Likewise.
    """

    name: str
    image: bytes
    mask: bytes
    image_file: str
    mask_file: str


@dataclasses.dataclass(frozen=True, eq=False)
class Example:
    """A decoded example: image u8[H, W, 3], label u8[H, W] of train ids."""

    name: str
    image: np.ndarray
    label: np.ndarray


def looks_whole(encoded: bytes) -> bool:
    """Tells whether a JPEG or PNG ends as one should; few that do are cut off."""
    if encoded.startswith(b"\xff\xd8"):
        return encoded.endswith(b"\xff\xd9")
    return encoded.endswith(b"IEND\xaeB`\x82")


def is_cmyk(encoded: bytes) -> bool:
    """Tells whether the header of a JPEG or PNG says so; False for a broken one."""
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            return image.mode == "CMYK"
    except (OSError, SyntaxError, ValueError):
        return False


def _open(encoded: bytes, file: str) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(encoded))
        image.load()
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(
            f"{file}: cannot be decoded ({error}); wanted a whole JPEG or PNG file, "
            "copy it anew or remove the pair"
        ) from None
    return image


def decode_image(encoded: bytes, file: str) -> np.ndarray:
    """Returns u8[H, W, 3] in RGB.

    Raises:
        UserError: the file is truncated, not an image, or has the colours of a printer.
    """
    image = _open(encoded, file)
    if image.mode == "CMYK":
        # Readers turn these into different colours, Pillow some into their negatives.
        raise UserError(
            f"{file}: has CMYK colours; wanted RGB or grey, convert it (for example"
            " magick IN -colorspace sRGB OUT) or remove it"
        )
    return np.asarray(image.convert("RGB"))


def decode_mask(encoded: bytes, file: str) -> np.ndarray:
    """Returns u8[H, W] of raw ids; palette images give indices, not colours.

    Raises:
        UserError: the file is truncated, not an image, or not a mask of indices.
    """
    mask = _open(encoded, file)
    if mask.mode not in ("L", "P", "1"):
        raise UserError(
            f"{file}: the mask has mode {mask.mode}; wanted one 8-bit channel of class "
            "ids (mode L or P), so convert colours to ids first"
        )
    return np.asarray(mask, np.uint8)


def encode_mask(mask: np.ndarray) -> bytes:
    """Returns a PNG of mode 'L' that holds u8[H, W] unchanged."""
    buffer = io.BytesIO()
    Image.fromarray(mask, "L").save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def grey_mask(encoded: bytes, file: str) -> bytes:
    """Returns a mask as a PNG of mode 'L', itself if it is one.

    TensorFlow expands palettes to colours, so it must not see any other mode.

    Raises:
        UserError: as decode_mask.
    """
    try:
        with Image.open(io.BytesIO(encoded)) as mask:
            if mask.format == "PNG" and mask.mode == "L":
                return encoded
    except OSError:
        pass  # decode_mask says what is wrong.
    return encode_mask(decode_mask(encoded, file))


def to_train_ids(mask: np.ndarray, info: DatasetInfo, file: str) -> np.ndarray:
    """Maps u8[H, W] raw ids to u8[H, W] train ids.

    Raises:
        UserError: a value is neither a class nor an ignored id of the data set.
    """
    label = info.id_map[mask]
    unknown = label == UNKNOWN_ID
    if unknown.any():
        values = ", ".join(str(v) for v in np.unique(mask[unknown])[:5])
        classes = np.flatnonzero(info.id_map < UNKNOWN_ID)
        ignored = np.flatnonzero(info.id_map == IGNORE_ID)
        raise UserError(
            f"{file}: the mask has the value {values}, out of range; wanted "
            f"{classes[0]}..{classes[-1]} ({info.num_classes} classes) or an ignored "
            f"value ({', '.join(map(str, ignored)) or 'none'}); correct the mask, or "
            "the list of classes"
        )
    return label


def decode_record(record: Record, info: DatasetInfo) -> Example:
    """Decodes a record.

    Raises:
        UserError: a file is broken, the mask is no index mask or has an id out of
            range, or the two sizes differ; names the file.
    """
    image = decode_image(record.image, record.image_file)
    mask = decode_mask(record.mask, record.mask_file)
    if image.shape[:2] != mask.shape:
        raise UserError(
            f"{record.mask_file}: the mask is {mask.shape[1]}x{mask.shape[0]} pixels, "
            f"its image {image.shape[1]}x{image.shape[0]}; wanted equal sizes"
        )
    return Example(record.name, image, to_train_ids(mask, info, record.mask_file))
