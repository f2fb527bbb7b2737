"""Pixels of a crop, found in an image by an affine map: compiled loops for one thread.

To the bit what TensorFlow's ImageProjectiveTransformV3 gives on an x86 processor (mode
CONSTANT), in less than half of its time: it finds the position anew for each channel.
Without TensorFlow, NumPy in and out; other threads run meanwhile.
"""

import numpy as np

from encnet_jax.errors import UserError

try:
    import numba
except ImportError as error:
    raise UserError(
        f"numba cannot be imported ({error}); pip install numba, or set data.reader to"
        " 'arrays', which does without"
    ) from None

# The largest float32 below 1/2: added to what is just below a half it stays below one.
_HALF = np.float32(0.49999997)
_ONE = np.float32(1)


def warp_image(image: np.ndarray, transform: np.ndarray, size: int) -> np.ndarray:
    """Returns uint8[size, size, 3], bilinear between the image's pixels; black outside.

    Args:
        image: uint8 or f32[H, W, 3] in 0..255.
        transform: f32[6]; the crop's pixel (x, y) is at (t0 x + t1 y + t2,
            t3 x + t4 y + t5) of the image, (0, 0) being the first pixel's centre.
        size: Of the crop, pixels.
    """
    crop = np.empty((size, size, 3), np.uint8)
    _bilinear(image, transform, crop)
    return crop


def warp_labels(
    labels: np.ndarray, transform: np.ndarray, size: int, fill: int
) -> np.ndarray:
    """Returns uint8[size, size], the labels nearest to each pixel; `fill` outside.

    Args:
        labels: uint8[H, W].
        transform: f32[6], as of `warp_image`.
        size: Of the crop, pixels.
        fill: In 0..255.
    """
    crop = np.full((size, size), fill, np.uint8)
    _nearest(labels, transform, crop)
    return crop


@numba.njit(nogil=True)
def _bilinear(image, transform, crop):
    """Writes the crop. Operations are of float32 and in TensorFlow's order."""
    height, width = image.shape[:2]
    for row in range(crop.shape[0]):
        for column in range(crop.shape[1]):
            x, y = _position(transform, row, column)
            x0, y0 = int(np.floor(x)), int(np.floor(y))
            x1, y1 = x0 + 1, y0 + 1
            # Branches around the loops: within them they cost two thirds more time.
            if 0 <= x0 and x1 < width and 0 <= y0 and y1 < height:
                for channel in range(3):
                    crop[row, column, channel] = _blend(
                        np.float32(image[y0, x0, channel]),
                        np.float32(image[y0, x1, channel]),
                        np.float32(image[y1, x0, channel]),
                        np.float32(image[y1, x1, channel]),
                        x,
                        y,
                    )
            elif -1 <= x0 and x0 < width and -1 <= y0 and y0 < height:
                for channel in range(3):
                    crop[row, column, channel] = _blend(
                        _pixel(image, y0, x0, channel),
                        _pixel(image, y0, x1, channel),
                        _pixel(image, y1, x0, channel),
                        _pixel(image, y1, x1, channel),
                        x,
                        y,
                    )
            else:
                crop[row, column] = 0


@numba.njit(inline="always")
def _blend(upper_left, upper_right, lower_left, lower_right, x, y):
    """Returns the value at (x, y) between four pixels, rounded half to even."""
    left, top = np.floor(x), np.floor(y)
    upper = (left + _ONE - x) * upper_left + (x - left) * upper_right
    lower = (left + _ONE - x) * lower_left + (x - left) * lower_right
    value = (top + _ONE - y) * upper + (y - top) * lower
    return np.uint8(np.int32(np.rint(value)))


@numba.njit(nogil=True)
def _nearest(labels, transform, crop):
    height, width = labels.shape
    for row in range(crop.shape[0]):
        for column in range(crop.shape[1]):
            x, y = _position(transform, row, column)
            x0, y0 = _round(x), _round(y)
            if 0 <= x0 < width and 0 <= y0 < height:
                crop[row, column] = labels[y0, x0]


@numba.njit(inline="always")
def _position(transform, row, column):
    x, y = np.float32(column), np.float32(row)
    return (
        transform[0] * x + transform[1] * y + transform[2],
        transform[3] * x + transform[4] * y + transform[5],
    )


@numba.njit(inline="always")
def _round(position):
    """Half away from zero, where Python and NumPy round half to even."""
    return int(np.trunc(position + np.copysign(_HALF, position)))


@numba.njit(inline="always")
def _pixel(image, y, x, channel):
    """Of the image, or the black around it."""
    if 0 <= y < image.shape[0] and 0 <= x < image.shape[1]:
        return np.float32(image[y, x, channel])
    return np.float32(0)
