"""One decoder: every reader sees the same pixels or refuses by the file's name."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from encnet_jax.data.sources import decode, records
from encnet_jax.data.sources.decode import DEFAULT_RULES, ImageRules
from encnet_jax.errors import UserError

RGB = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)


def encoded(picture, kind, **options) -> bytes:
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def grey_png(rows: np.ndarray, bits: int) -> bytes:
    """A grey PNG of 1, 2, 4 or 16 bits, which Pillow cannot write in all of these."""
    packed = b""
    for row in rows:
        if bits == 16:
            packed += b"\0" + row.astype(">u2").tobytes()
            continue
        binary = "".join(f"{value:0{bits}b}" for value in row)
        packed += b"\0" + bytes(
            int(binary[i : i + 8].ljust(8, "0"), 2) for i in range(0, len(binary), 8)
        )

    def chunk(kind, content):
        body = kind + content
        return (
            struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))
        )

    header = struct.pack(">IIBBBBB", rows.shape[1], rows.shape[0], bits, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(packed))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB"])
def test_every_format_is_read_under_any_name(kind, mode):
    try:
        file = encoded(Image.fromarray(RGB).convert(mode), kind)
    except OSError:
        pytest.skip(f"Pillow writes no {kind} of mode {mode}")
    pixels = decode.decode_image(file, "a.jpg")
    wanted = np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))
    np.testing.assert_array_equal(pixels, wanted)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = encoded(RGB, kind, exif=exif)
    stored = Image.open(io.BytesIO(file))
    stored.load()
    wanted = np.asarray(ImageOps.exif_transpose(stored).convert("RGB"))
    np.testing.assert_array_equal(decode.decode_image(file, "a"), wanted)
    assert decode.image_size(file, "a") == wanted.shape[:2]
    plain = decode.tensorflow_decodes(file, "a", DEFAULT_RULES)
    assert plain == (orientation == 1 and kind == "JPEG")


def test_masks_that_fit_the_image_before_rotation_are_reported():
    exif = Image.Exif()
    exif[0x0112] = 6
    image = encoded(RGB, "JPEG", exif=exif)
    mask = encoded(np.zeros((48, 64), np.uint8), "PNG")
    record = records.Record("a", image, mask, "a.jpg", "a.png")
    message = (
        "a.png: the mask has the size of the stored image, 64x48 pixels, but .* EXIF"
    )
    with pytest.raises(UserError, match=message):
        records.for_tensorflow(record, DEFAULT_RULES)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_masks_of_few_bits_keep_their_stored_values(bits):
    ids = np.arange(12).reshape(3, 4) % 2**bits
    np.testing.assert_array_equal(decode.decode_mask(grey_png(ids, bits), "m"), ids)


def test_grey_images_of_more_than_8_bits_require_a_range():
    values = np.array([[0, 1000, 2000], [3000, 4000, 65535]])
    for file in (grey_png(values, 16), encoded(values.astype(np.int32), "TIFF")):
        with pytest.raises(UserError, match="a.png: has values of more than 8 bits"):
            decode.decode_image(file, "a.png")
        pixels = decode.decode_image(file, "a", ImageRules(value_range=(1000, 4000)))
        wanted = np.array([[0, 0, 85], [170, 255, 255]], np.uint8)
        np.testing.assert_array_equal(pixels, np.repeat(wanted[..., None], 3, 2))


def test_floats_that_are_not_finite_are_counted():
    values = np.float32([[0.5, np.nan], [np.inf, 1]])
    rules = ImageRules(value_range=(0, 1))
    with pytest.raises(UserError, match="a.tif: has 2 pixels that are NaN or infinite"):
        decode.decode_image(encoded(values, "TIFF"), "a.tif", rules)


def several(kind: str) -> bytes:
    frames = [Image.fromarray(np.roll(RGB, i)) for i in range(3)]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:])


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (b"", r"x: cannot be decoded \(the file is empty\)"),
        (
            b"%PDF-1.7" + bytes(99),
            "x: cannot be decoded .*expected a complete JPEG, PNG",
        ),
        (encoded(RGB, "JPEG")[:900], "x: cannot be decoded"),
        (encoded(RGB, "PNG")[:900], "x: cannot be decoded"),
        (encoded(RGB, "PNG")[:20], "x: cannot be decoded"),
        (several("WEBP"), "x: has 3 frames; expected a still image"),
        (several("PNG"), "x: has 3 frames; expected a still image"),
        (several("GIF"), "x: has 3 frames; expected a still image"),
        (
            encoded(Image.new("RGBA", (4, 4)), "PNG"),
            "x: has channels RGBA; expected RGB",
        ),
        (
            encoded(Image.new("CMYK", (4, 4)), "JPEG"),
            "x: has channels CMYK; expected RGB",
        ),
        (several("TIFF"), "x: has 3 frames; expected a still image"),
        (
            encoded(Image.new("LAB", (4, 4)), "TIFF"),
            "x: has channels LAB; expected RGB or grey",
        ),
    ],
)
def test_unsupported_images_are_refused_by_name(file, message):
    with pytest.raises(UserError, match=f"^{message}"):
        decode.decode_image(file, "x")


def test_decompression_bombs_are_refused_before_decoding():
    rules = ImageRules(max_pixels=3000)
    file = encoded(RGB, "PNG")
    message = "x: has 64x48 pixels; expected at most 3000"
    for read in (decode.decode_image, decode.decode_mask, decode.image_size):
        with pytest.raises(UserError, match=message):
            read(file, "x", rules)


def test_masks_of_16_bits_or_with_constant_transparency_are_read():
    ids = np.arange(12, dtype=np.uint8).reshape(3, 4)
    for kind in ("PNG", "TIFF"):
        deep = encoded(ids.astype(np.uint16), kind)
        np.testing.assert_array_equal(decode.decode_mask(deep, "m"), ids)
    layers = np.stack([ids, np.full_like(ids, 255)], axis=-1)
    np.testing.assert_array_equal(decode.decode_mask(encoded(layers, "PNG"), "m"), ids)
    layers[0, 0, 1] = 0
    for array, message in (
        (layers, "mode LA"),
        (ids.astype(np.uint16) + 250, "250 to"),
    ):
        with pytest.raises(UserError, match=message):
            decode.decode_mask(encoded(array, "PNG"), "m")


def test_transparency_is_dropped_with_a_note():
    notes = []
    rules = ImageRules(note=notes.append)
    file = encoded(Image.new("RGBA", (4, 4), (1, 2, 3, 0)), "PNG")
    assert decode.decode_image(file, "x", rules)[0, 0].tolist() == [1, 2, 3]
    file = encoded(Image.new("CMYK", (4, 4)), "JPEG")
    assert decode.decode_image(file, "y", rules)[0, 0].tolist() == [255, 255, 255]
    assert notes == [
        "x: has channels RGBA; the transparency is dropped",
        "y: has channels CMYK; converted to RGB",
    ]


def test_jpeg_masks_are_refused():
    with pytest.raises(UserError, match="m.png: the mask is a JPEG"):
        decode.decode_mask(encoded(RGB[..., 0], "JPEG"), "m.png")


def test_tensorflow_decodes_only_complete_plain_files():
    mask = encoded(RGB[..., 0], "PNG")
    assert decode.tensorflow_decodes(mask, "m", DEFAULT_RULES, mask=True)
    for file in (mask[:-1], mask + b"0", grey_png(np.zeros((2, 2), int), 4)):
        assert not decode.tensorflow_decodes(file, "m", DEFAULT_RULES, mask=True)
    jpeg = encoded(RGB, "JPEG")
    assert decode.tensorflow_decodes(jpeg, "a", DEFAULT_RULES)
    assert not decode.tensorflow_decodes(jpeg, "a", DEFAULT_RULES, mask=True)
    assert not decode.tensorflow_decodes(jpeg[:-2], "a", DEFAULT_RULES)


def test_records_that_tensorflow_decodes_differently_become_pngs():
    mask = encoded(RGB[..., 0], "PNG")
    record = records.Record("a", encoded(RGB, "WEBP"), mask, "a.jpg", "a.png")
    plain = records.for_tensorflow(record, DEFAULT_RULES)
    assert plain.image.startswith(b"\x89PNG")
    np.testing.assert_array_equal(
        decode.decode_image(plain.image, "a"), decode.decode_image(record.image, "a")
    )
    np.testing.assert_array_equal(decode.decode_mask(plain.mask, "m"), RGB[..., 0])
    assert records.for_tensorflow(plain, DEFAULT_RULES) is plain
