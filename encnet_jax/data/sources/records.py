"""Decodes and checks examples, which are pairs of an image and a mask."""

import dataclasses

import numpy as np

from encnet_jax.data.sources import decode
from encnet_jax.data.sources.decode import DEFAULT_RULES, ImageRules
from encnet_jax.data.sources.info import UNKNOWN_ID, DatasetInfo
from encnet_jax.errors import UserError
from encnet_jax.labels import IGNORE_LABEL


@dataclasses.dataclass(frozen=True)
class Record:
    """A stored example: an encoded image and its encoded mask.

    Attributes:
        name: The example's id, unique in its split.
        image: The bytes of an image file.
        mask: The bytes of a mask file, before its values are mapped to train ids.
        image_file: name of the image in error messages.
        mask_file: name of the mask in error messages.
    """

    name: str
    image: bytes
    mask: bytes
    image_file: str
    mask_file: str


@dataclasses.dataclass(frozen=True, eq=False)
class Example:
    """A decoded example.

    Attributes:
        name: The example's id.
        image: uint8[H, W, 3].
        label: uint8[H, W] of train ids; for classification, the class id as a scalar.
        orientation: EXIF orientation of the stored image, 1..8; already applied to
            `image`.
    """

    name: str
    image: np.ndarray
    label: np.ndarray
    orientation: int = 1


def decode_record(
    record: Record, info: DatasetInfo, rules: ImageRules = DEFAULT_RULES
) -> Example:
    """Decodes the image and the mask of a record, and maps mask values to train ids.

    Raises:
        UserError: the image or mask is broken, the mask has several channels or unknown
            values, or image and mask differ in size.
    """
    image, mask = _decoded(record, rules)
    label = to_train_ids(mask, info, record.mask_file)
    return Example(record.name, image.pixels, label, image.orientation)


def for_tensorflow(record: Record, rules: ImageRules) -> Record:
    """Returns a record that TensorFlow and `decode_record` decode to the same pixels.

    If decode.tensorflow_decodes returns True for the image and the mask, the record is
    returned unchanged. Otherwise, the image and the mask are converted to PNGs.

    Raises:
        UserError: the image or mask is found to be broken, the mask has several
            channels, or image and mask differ in size.
    """
    image = decode.tensorflow_decodes(record.image, record.image_file, rules)
    if image and decode.tensorflow_decodes(
        record.mask, record.mask_file, rules, mask=True
    ):
        return record
    return as_png(record, rules)


def as_png(record: Record, rules: ImageRules) -> Record:
    """Decodes the image and mask of a record and encodes both as plain PNGs.

    Raises:
        UserError: the image or mask is broken, the mask has several channels, or image
            and mask differ in size.
    """
    image, mask = _decoded(record, rules)
    return dataclasses.replace(
        record,
        image=decode.encode_png(image.pixels),
        mask=decode.encode_png(mask),
    )


def _decoded(record: Record, rules: ImageRules) -> tuple[decode.Decoded, np.ndarray]:
    image = decode.decode(record.image, record.image_file, rules)
    mask = decode.decode_mask(record.mask, record.mask_file, rules)
    _check_sizes(image, mask, record.mask_file)
    return image, mask


def _check_sizes(image: decode.Decoded, mask: np.ndarray, file: str) -> None:
    (height, width), (rows, columns) = image.pixels.shape[:2], mask.shape
    if (height, width) == (rows, columns):
        return
    if image.orientation >= 5 and (width, height) == (rows, columns):
        raise UserError(
            f"{file}: the mask has the size of the stored image, {columns}x{rows}"
            f" pixels, but the image's EXIF orientation {image.orientation} rotates it"
            f" to {width}x{height}; rotate the mask too, or remove the EXIF orientation"
        )
    raise UserError(
        f"{file}: the mask has {columns}x{rows} pixels, but its image has"
        f" {width}x{height}; expected equal sizes"
    )


def to_train_ids(mask: np.ndarray, info: DatasetInfo, file: str) -> np.ndarray:
    """Maps the stored values uint8[H, W] of a mask to train ids uint8[H, W].

    Raises:
        UserError: a value is neither a class nor an ignored value of the data set.
    """
    label = info.id_map[mask]
    unknown = label == UNKNOWN_ID
    if unknown.any():
        values = ", ".join(str(v) for v in np.unique(mask[unknown])[:5])
        classes = np.flatnonzero(info.id_map < UNKNOWN_ID)
        ignored = np.flatnonzero(info.id_map == IGNORE_LABEL)
        accepted = f"{classes[0]}..{classes[-1]} ({info.num_classes} classes)"
        if ignored.size:
            accepted += f" or an ignored value ({', '.join(map(str, ignored))})"
        raise UserError(
            f"{file}: the mask has the value{'s' * (',' in values)} {values}, out of"
            f" range; expected {accepted}; {_fix(mask, info)}"
        )
    return label


def _fix(mask: np.ndarray, info: DatasetInfo) -> str:
    """Returns advice on how to correct a mask with unknown values."""
    if info.num_classes == 2 and set(np.unique(mask)) <= {0, 255}:
        return (
            "black and white masks have the values 0 and 255: write 1 instead of 255 if"
            " white is the second class, or add 255 to data.folder.ignore_ids if white"
            " pixels are not labelled"
        )
    return "correct the mask, or the list of classes"
