"""Draws and saves images of labels and predictions."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from etils import epath
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from encnet_jax import storage
from encnet_jax.errors import printable
from encnet_jax.labels import IGNORE_LABEL
from encnet_jax.storage import outputs

VOID_COLOUR = (255, 255, 255)


def scaled_size(height: int, width: int, scale: float) -> tuple[int, int]:
    """Returns the height and width of an image resized by `scale`, both at least 1."""
    return max(1, round(height * scale)), max(1, round(width * scale))


def colourise(ids: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Maps class ids to colours; returns uint8[H, W, 3].

    Args:
        ids: uint8[H, W], class ids 0..C-1, or IGNORE_LABEL, which is drawn white.
        colours: uint8[C, 3], the colour of each class.
    """
    table = np.full((256, 3), VOID_COLOUR, np.uint8)
    table[: min(len(colours), IGNORE_LABEL)] = colours[:IGNORE_LABEL]
    return table[ids]


def overlay(
    image: np.ndarray,
    ids: np.ndarray,
    colours: np.ndarray,
    transparent: Sequence[int] = (),
) -> np.ndarray:
    """Averages an image with the colours of its labels; returns uint8[H, W, 3].

    Args:
        image: uint8[H, W, 3].
        ids: uint8[H, W], class ids 0..C-1, or IGNORE_LABEL, which is drawn white.
        colours: uint8[C, 3], the colour of each class.
        transparent: ids of the classes whose pixels keep the colour of the image.
    """
    mixed = (image.astype(np.uint16) + colourise(ids, colours)) // 2
    mixed = mixed.astype(np.uint8)
    if transparent:
        mixed = np.where(np.isin(ids, transparent)[..., None], image, mixed)
    return mixed


def legend(class_names: Sequence[str], colours: np.ndarray) -> Image.Image:
    """Draws a legend: one row for each class, with its colour, id and name."""
    row, swatch = 22, 30
    texts = [f"{i}  {printable(name)}" for i, name in enumerate(class_names)]
    font = ImageFont.load_default(14)
    width = int(max(map(font.getlength, texts))) + swatch + 3 * 8
    picture = Image.new("RGB", (width, row * len(texts) + 8), VOID_COLOUR)
    draw = ImageDraw.Draw(picture)
    for i, (text, colour) in enumerate(zip(texts, colours.tolist(), strict=True)):
        top = 8 + i * row
        box = (8, top, 8 + swatch, top + row - 8)
        draw.rectangle(box, fill=tuple(colour), outline="black")
        draw.text((16 + swatch, top - 2), text, fill="black", font=font)
    return picture


def side_by_side(
    image: np.ndarray, label: np.ndarray, ids: np.ndarray, colours: np.ndarray
) -> np.ndarray:
    """Draws an image, its label and its prediction next to each other.

    Args:
        image: uint8[H, W, 3].
        label: uint8[H, W], true class ids; IGNORE_LABEL is drawn white.
        ids: uint8[H, W], predicted class ids.
        colours: uint8[C, 3], the colour of each class.

    Returns:
        uint8[H, 3 W, 3]: image, label and prediction, from left to right.
    """
    panels = [image, colourise(label, colours), colourise(ids, colours)]
    return np.concatenate(panels, axis=1)


def save_index_png(path: epath.Path, ids: np.ndarray, colours: np.ndarray) -> None:
    """Writes class ids as an 8-bit PNG with a palette of the class colours.

    Args:
        path: the PNG file.
        ids: uint8[H, W], class ids 0..C-1, or IGNORE_LABEL, which is shown white.
        colours: uint8[C, 3], the colour of each class.
    """
    picture = Image.fromarray(ids)
    picture.putpalette(colourise(np.arange(256, dtype=np.uint8), colours).tobytes())
    save_png(path, picture)


def save_png(path: epath.Path, picture: Image.Image) -> None:
    """Writes a Pillow image of any mode as a PNG file, atomically."""
    marks = PngInfo()
    for key, value in outputs.PNG_TEXT.items():
        marks.add_text(key, value)
    storage.write_whole(path, partial(picture.save, format="PNG", pnginfo=marks))
