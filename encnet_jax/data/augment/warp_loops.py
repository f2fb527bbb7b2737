"""Compiled loops of `warp.py`, a row of the crop at a time.

Each loop does one thing, so that the compiler makes instructions for eight pixels of
those that compute; only those that fetch pixels go one by one. Operations are of
float32 and in TensorFlow's order. Images have a border, in which all that is looked for
outside of them is found: within the loops branches would cost more.
"""

import numpy as np

from encnet_jax.errors import UserError

try:
    import numba
    from numba.core.caching import FunctionCache
except ImportError as error:
    raise UserError(
        f"numba cannot be imported ({error}); pip install numba, or set data.reader to"
        " 'arrays', which does without"
    ) from None

BORDER = 2  # Pixels: bilinear, both neighbours are outside of the image.

# The largest float32 below 1/2: added to what is just below a half it stays below one.
_HALF = np.float32(0.49999997)
_ONE = np.float32(1)
_BYTE = np.int32(255)
_SHIFTS = np.int32(0), np.int32(8), np.int32(16)  # Of a packed pixel's channels.


class _Cache(FunctionCache):
    """Compiled code on the disk, for the next start; without, it is compiled again."""

    def save_overload(self, *args):
        try:
            super().save_overload(*args)
        except OSError:  # A full disk, for one, ends no run for this.
            pass


def _compiled(function):
    """For one thread, while others run."""
    compiled = numba.njit(nogil=True)(function)
    try:
        # What njit(cache=True) does, but for the class.
        compiled._cache = _Cache(function)
    except RuntimeError:  # Neither this folder nor the user's can be written.
        pass
    return compiled


_inlined = numba.njit(inline="always")


@_compiled
def packed(image):
    """Returns int32[H + 4, W + 4], three bytes a pixel, of uint8[H, W, 3]."""
    height, width = image.shape[:2]
    pixels = np.zeros((height + 2 * BORDER, width + 2 * BORDER), np.int32)
    for row in range(height):
        for column in range(width):
            pixel = np.int32(0)
            for channel, shift in enumerate(_SHIFTS):
                pixel |= np.int32(image[row, column, channel]) << shift
            pixels[row + BORDER, column + BORDER] = pixel
    return pixels


@_compiled
def bilinear_packed(pixels, transform, crop):
    """Writes uint8[size, size, 3] from what `packed` returns."""
    size = crop.shape[1]
    columns, rows = np.empty(size, np.int32), np.empty(size, np.int32)
    weights = _four(size, np.float32)
    corners, blended = _four(size, np.int32), np.empty(size, np.int32)
    for row in range(crop.shape[0]):
        _neighbours(transform, row, pixels.shape, columns, rows, *weights)
        _fetch(pixels, columns, rows, *corners)
        _blend_packed(*corners, *weights, blended)
        _unpack(blended, crop[row])


@_compiled
def bilinear(pixels, transform, crop):
    """Writes uint8[size, size, 3] from f32[H + 4, W + 4, 3], whose border is black."""
    size = crop.shape[1]
    columns, rows = np.empty(size, np.int32), np.empty(size, np.int32)
    weights = _four(size, np.float32)
    left, right, upper, lower = weights
    for row in range(crop.shape[0]):
        _neighbours(transform, row, pixels.shape[:2], columns, rows, *weights)
        for i in range(size):
            x, y = columns[i], rows[i]
            for channel in range(3):
                crop[row, i, channel] = _blend(
                    pixels[y, x, channel],
                    pixels[y, x + 1, channel],
                    pixels[y + 1, x, channel],
                    pixels[y + 1, x + 1, channel],
                    left[i],
                    right[i],
                    upper[i],
                    lower[i],
                )


@_compiled
def nearest(labels, transform, crop):
    """Writes uint8[size, size] from uint8[H + 4, W + 4] with its border."""
    size = crop.shape[1]
    columns, rows = np.empty(size, np.int32), np.empty(size, np.int32)
    height, width = labels.shape
    for row in range(crop.shape[0]):
        for i in range(size):
            x, y = _position(transform, row, i)
            columns[i] = _inside(_round(x), width)
            rows[i] = _inside(_round(y), height)
        for i in range(size):
            crop[row, i] = labels[rows[i], columns[i]]


@_inlined
def _four(size, dtype):
    # One array of four rows would keep the loops from being vectorised.
    return (
        np.empty(size, dtype),
        np.empty(size, dtype),
        np.empty(size, dtype),
        np.empty(size, dtype),
    )


@_compiled
def _neighbours(transform, row, shape, columns, rows, left, right, upper, lower):
    """Upper left of each position's four pixels, and what each side counts."""
    height, width = shape
    for i in range(columns.size):
        x, y = _position(transform, row, i)
        x0, y0 = np.floor(x), np.floor(y)
        columns[i], rows[i] = _inside(x0, width), _inside(y0, height)
        left[i], right[i] = x0 + _ONE - x, x - x0
        upper[i], lower[i] = y0 + _ONE - y, y - y0


@_inlined
def _position(transform, row, column):
    x, y = np.float32(np.int32(column)), np.float32(row)
    return (
        transform[0] * x + transform[1] * y + transform[2],
        transform[3] * x + transform[4] * y + transform[5],
    )


@_inlined
def _inside(position, padded_size):
    """Of the padded image; what is further outside is on its border."""
    last = np.float32(padded_size - 2 * BORDER)
    return np.int32(min(max(position, np.float32(-BORDER)), last)) + np.int32(BORDER)


@_inlined
def _round(position):
    """Half away from zero, where Python and NumPy round half to even."""
    return np.trunc(position + (_HALF if position >= 0 else -_HALF))


@_compiled
def _fetch(pixels, columns, rows, upper_left, upper_right, lower_left, lower_right):
    for i in range(columns.size):
        # Unsigned: a sign would be looked at for every pixel.
        x, y = np.uint32(columns[i]), np.uint32(rows[i])
        upper_left[i] = pixels[y, x]
        upper_right[i] = pixels[y, x + np.uint32(1)]
        lower_left[i] = pixels[y + np.uint32(1), x]
        lower_right[i] = pixels[y + np.uint32(1), x + np.uint32(1)]


@_compiled
def _blend_packed(
    upper_left, upper_right, lower_left, lower_right, left, right, upper, lower, blended
):
    for i in range(blended.size):
        pixel = np.int32(0)
        for shift in _SHIFTS:
            value = _blend(
                np.float32(upper_left[i] >> shift & _BYTE),
                np.float32(upper_right[i] >> shift & _BYTE),
                np.float32(lower_left[i] >> shift & _BYTE),
                np.float32(lower_right[i] >> shift & _BYTE),
                left[i],
                right[i],
                upper[i],
                lower[i],
            )
            pixel |= value << shift
        blended[i] = pixel


@_inlined
def _blend(upper_left, upper_right, lower_left, lower_right, left, right, upper, lower):
    """Returns the value between four pixels, rounded half to even."""
    above = left * upper_left + right * upper_right
    below = left * lower_left + right * lower_right
    return np.int32(np.rint(upper * above + lower * below))


@_compiled
def _unpack(blended, crop):
    for i in range(blended.size):
        for channel, shift in enumerate(_SHIFTS):
            crop[i, channel] = blended[i] >> shift & _BYTE
