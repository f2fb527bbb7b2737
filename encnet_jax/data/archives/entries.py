"""Lists the examples of a published data set. An example is an image and its mask."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np

from encnet_jax.data.archives.file_tree import StoredFile
from encnet_jax.data.sources import decode
from encnet_jax.data.sources.decode import DEFAULT_RULES
from encnet_jax.errors import UserError
from encnet_jax.labels import IGNORE_LABEL


class Readable(Protocol):
    """The interface of an encoded image; str(image) is used in error messages."""

    def read(self) -> bytes:
        """Returns the bytes of the image file."""


class Entry(NamedTuple):
    """An example whose image and mask are read only when needed.

    Attributes:
        name: id of the example, unique in its split.
        image: the encoded image, usually a StoredFile.
        mask: function that receives the bytes of the image file. It returns the mask as
            the bytes of a PNG of mode 'L' with the published class ids. If it returns
            None, the example is skipped.
        mask_file: name of the mask for error messages.
    """

    name: str
    image: Readable
    mask: Callable[[bytes], bytes | None]
    mask_file: str


def pairs(
    images: Mapping[str, StoredFile], masks: Mapping[str, StoredFile]
) -> list[Entry]:
    """Returns one Entry per image, with the mask of the same name.

    Raises:
        UserError: an image has no mask.
    """
    return [file_entry(name, image, masks.get(name)) for name, image in images.items()]


def file_entry(name: str, image: StoredFile | None, mask: StoredFile | None) -> Entry:
    """Returns the Entry of an image file and a mask file.

    Args:
        name: id of the example.
        image: the image file; None if the file is missing.
        mask: the mask file; None if the file is missing.

    Raises:
        UserError: a file is missing.
    """
    if image is None or mask is None:
        found, lacks = (image, "mask") if mask is None else (mask, "image")
        raise UserError(
            f"{found or name}: has no {lacks} in the source; add the {lacks}, or remove"
            " this file"
        )
    return Entry(name, image, lambda _: _as_png(mask), str(mask))


def _as_png(mask: StoredFile) -> bytes:
    """Returns a mask as the bytes of a grey 8-bit PNG; such a PNG is not re-encoded."""
    encoded, file = mask.read(), str(mask)
    if decode.tensorflow_decodes(encoded, file, DEFAULT_RULES, mask=True):
        return encoded
    return decode.encode_png(decode.decode_mask(encoded, file))


def unlabelled(id_map: np.ndarray, images: Mapping[str, StoredFile]) -> list[Entry]:
    """Returns one Entry per unlabelled image; all pixels of the masks are ignored.

    Args:
        id_map: uint8[256], maps published class ids to train ids.
        images: {name of the example: image file}.
    """
    raw = int(np.flatnonzero(id_map == IGNORE_LABEL)[0])

    return [
        Entry(name, image, partial(_ignored, raw, str(image)), str(image))
        for name, image in images.items()
    ]


def _ignored(raw: int, file: str, image: bytes) -> bytes:
    size = decode.image_size(image, file)
    return decode.encode_png(np.full(size, raw, np.uint8))
