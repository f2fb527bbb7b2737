"""Convolutions in the form that suits the platform they are compiled for."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

LANES = 8  # Images that a TPU's convolution lays side by side.
_REGISTER = 128  # Channels side by side in a TPU's register.
_COLOURS = 3


class Taps(NamedTuple):
    """Where a kernel looks. Sizes in pixels, of both sides.

    Attributes:
        stride: between positions of the output.
        dilation: between neighbouring taps.
        padding: zeros around the image.
    """

    stride: int = 1
    dilation: int = 1
    padding: int = 0


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
    """Bands of rows side by side as if they were images, with the rows they share."""
    images, height = x.shape[:2]
    bands, reach = LANES // images, taps.dilation * (kernel.shape[0] - 1)
    out_height = (height + 2 * taps.padding - reach - 1) // taps.stride + 1
    rows = -(-out_height // bands)  # Of each band's output.
    step = rows * taps.stride
    span = (rows - 1) * taps.stride + reach + 1
    below = (bands - 1) * step + span - height - taps.padding
    x = jnp.pad(x, ((0, 0), (taps.padding, max(0, below)), (0, 0), (0, 0)))
    x = jnp.stack([x[:, i * step : i * step + span] for i in range(bands)], axis=1)
    x = x.reshape(images * bands, *x.shape[2:])
    y = _direct(x, kernel, taps, pads_rows=False)
    return y.reshape(images, bands * rows, *y.shape[2:])[:, :out_height]


def _forms(x: jax.Array, kernel: jax.Array) -> dict:
    """Returns the form by platform, 'default' being that of all others."""
    images, size, channels = x.shape[0], kernel.shape[0], kernel.shape[2]
    # An exported program's number of images is a symbol: of each pair, the form that
    # costs least where it does not suit.
    many = not isinstance(images, int) or images >= LANES
    if size == 1:
        return {"cpu": _product, "default": _direct if many else _product}
    if many and channels <= _COLOURS and size * size * channels <= _REGISTER:
        return {"tpu": _patches, "default": _direct}
    # Of a single image the compiler lays rows side by side by itself.
    if not many and 1 < images <= LANES // 2:
        return {"tpu": _bands, "default": _direct}
    return {"default": _direct}


def convolve(x: jax.Array, kernel: jax.Array, taps: Taps) -> jax.Array:
    """A convolution with a square kernel.

    CPUs run one of 1x1 faster as a matrix product. TPUs lay eight images side by side
    for a convolution, so products between convolutions would change the featuremap's
    layout every time: a tenth of a step's time and memory. Fewer than eight images
    leave lanes empty: then a product moves fewer bytes there too, and two to four
    images are convolved in bands of rows. Of two those take half the time where the
    dilation is 4 and at the stem, of four two thirds.

    An image's three colours leave most of a TPU's register empty, and to lay them out
    so takes longer than the convolution itself; patches, the colours under all taps,
    take two fifths of that. With fewer than eight images they take longer.

    Args:
        x: [B, H, W, C_in].
        kernel: [k, k, C_in, C_out], of x's dtype.
        taps: where it looks; of a 1x1 kernel only the stride counts.

    Returns:
        [B, H', W', C_out] of x's dtype.
    """
    if _forms(x, kernel) == {"default": _direct}:
        return _direct(x, kernel, taps)
    return _by_platform(x, kernel, taps)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _by_platform(x, kernel, taps):
    return _on_platform(lambda form: partial(form, taps=taps), x, kernel)


def _on_platform(make, x, kernel, *arrays):
    """Applies make(form) to the arrays, with the form of the platform."""
    forms = {name: make(form) for name, form in _forms(x, kernel).items()}
    return jax.lax.platform_dependent(x, kernel, *arrays, **forms)


def _forward(x, kernel, taps):
    return _by_platform(x, kernel, taps), (x, kernel)


def _backward(taps, inputs, cotangent):
    # Differentiated inside of each form: from outside, both would keep their inputs.
    def make(form):
        def gradients(x, kernel, cotangent):
            return jax.vjp(partial(form, taps=taps), x, kernel)[1](cotangent)

        return gradients

    return _on_platform(make, *inputs, cotangent)


_by_platform.defvjp(_forward, _backward)
