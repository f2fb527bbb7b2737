"""Convolutions in the form that is fastest on the platform they are compiled for."""

from functools import partial

import jax
import jax.numpy as jnp

from encnet_jax.models.bands import SUBLANES, Taps, in_bands
from encnet_jax.models.by_platform import by_platform

_REGISTER = 128  # Channels side by side in a TPU's register.
_COLOURS = 3


def _direct(
    x: jax.Array, kernel: jax.Array, taps: Taps, *, pads_rows: bool = True
) -> jax.Array:
    above = taps.padding if pads_rows else 0
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(taps.stride,) * 2,
        padding=[(above, above), (taps.padding, taps.padding)],
        rhs_dilation=(taps.dilation,) * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def _product(x: jax.Array, kernel: jax.Array, taps: Taps) -> jax.Array:
    return x[:, :: taps.stride, :: taps.stride] @ kernel[0, 0]


def _flat_product(x: jax.Array, kernel: jax.Array, taps: Taps) -> jax.Array:
    """A product of matrices, pixels of all images in a row."""
    x = x[:, :: taps.stride, :: taps.stride]
    rows = x.reshape(-1, x.shape[-1]) @ kernel[0, 0]
    return rows.reshape(*x.shape[:-1], kernel.shape[-1])


def _patches(x: jax.Array, kernel: jax.Array, taps: Taps) -> jax.Array:
    """The pixels of all taps as channels, then a 1x1 convolution."""
    pad = (taps.padding, taps.padding)
    x = jnp.pad(x, ((0, 0), pad, pad, (0, 0)))
    size = kernel.shape[0]
    reach = taps.dilation * (size - 1)
    height, width = x.shape[1] - reach, x.shape[2] - reach
    starts = [i * taps.dilation for i in range(size)]
    pixels = [
        x[:, i : i + height : taps.stride, j : j + width : taps.stride]
        for i in starts
        for j in starts
    ]
    kernel = kernel.reshape(1, 1, -1, kernel.shape[-1])
    return _direct(jnp.concatenate(pixels, axis=-1), kernel, Taps())


def _bands(x: jax.Array, kernel: jax.Array, taps: Taps) -> jax.Array:
    """Bands of rows side by side as if they were images."""
    operate = partial(_direct, kernel=kernel, taps=taps, pads_rows=False)
    return in_bands(x, kernel.shape[0], taps, operate)


def _forms(x: jax.Array, kernel: jax.Array) -> dict:
    """Returns the form by platform, 'default' being that of all others."""
    images, size, channels = x.shape[0], kernel.shape[0], kernel.shape[2]
    # An exported program's number of images is a symbol: of each pair, the form that
    # costs least where it does not suit.
    many = not isinstance(images, int) or images >= SUBLANES
    if size == 1:
        return {"cpu": _flat_product, "default": _direct if many else _product}
    if many and channels <= _COLOURS and size * size * channels <= _REGISTER:
        return {"tpu": _patches, "default": _direct}
    # Of a single image the compiler lays rows side by side by itself, but does worse
    # where half of a register is empty.
    fewest = 1 if channels <= _REGISTER // 2 else 2
    if not many and fewest <= images <= SUBLANES // 2:
        return {"tpu": _bands, "default": _direct}
    return {"default": _direct}


def convolve(x: jax.Array, kernel: jax.Array, taps: Taps) -> jax.Array:
    """A convolution with a square kernel.

    CPUs run one of 1x1 faster as a matrix product of all images' pixels in a row; image
    by image the kernel's gradient would take up to twice as long. TPUs lay eight images
    side by side for a convolution, so products between convolutions would change the
    featuremap's layout every time: a tenth of a step's time and memory. Fewer than
    eight images leave registers partly empty: then a product moves fewer bytes there
    too, and two to four images are convolved in bands of rows, one at the stem alone.
    Of two those take half the time where the dilation is 4 and at the stem, of four two
    thirds.

    An image's three colours leave most of a TPU's register empty, and to lay them out
    so takes longer than the convolution itself; patches, the colours under all taps,
    take two fifths of that. With fewer than eight images they take longer.

    Args:
        x: [B, H, W, C_in].
        kernel: [k, k, C_in, C_out], of x's dtype.
        taps: its positions; for a 1x1 kernel only the stride is used.

    Returns:
        [B, H', W', C_out] of x's dtype.
    """
    forms = _forms(x, kernel)
    if forms == {"default": _direct}:
        return _direct(x, kernel, taps)
    forms = {name: partial(form, taps=taps) for name, form in forms.items()}
    return by_platform(forms, x, kernel)
