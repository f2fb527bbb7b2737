"""Convolutions, each in the form that suits the platform that it is compiled for."""

from functools import partial

import jax

from encnet_jax.models import winograd
from encnet_jax.models.bands import SUBLANES, Taps, in_bands
from encnet_jax.models.by_platform import by_platform

_REGISTER = 128  # Channels side by side in a TPU's register.


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
    """One matrix product over the pixels of all images."""
    x = x[:, :: taps.stride, :: taps.stride]
    rows = x.reshape(-1, x.shape[-1]) @ kernel[0, 0]
    return rows.reshape(*x.shape[:-1], kernel.shape[-1])


def _bands(x: jax.Array, kernel: jax.Array, taps: Taps) -> jax.Array:
    """Bands of rows side by side, as if they were images."""
    operate = partial(_direct, kernel=kernel, taps=taps, pads_rows=False)
    return in_bands(x, kernel.shape[0], taps, operate)


def _forms(x: jax.Array, kernel: jax.Array, taps: Taps) -> dict:
    """Returns the forms by platform; 'default' is for all other platforms."""
    images, size, channels = x.shape[0], kernel.shape[0], kernel.shape[2]
    # The number of images of an exported program is a symbol. Such a program gets the
    # forms whose cost matters least where they do not suit.
    known = isinstance(images, int)
    many = not known or images >= SUBLANES
    if size == 1:
        return {"cpu": _flat_product, "default": _direct if many else _product}
    forms: dict = {"default": _direct}
    # The compiler splits a single image into bands itself. Ours are faster where its
    # channels fill at most half a register.
    fewest = 1 if channels <= _REGISTER // 2 else 2
    if not many and fewest <= images <= SUBLANES // 2:
        forms["tpu"] = _bands
    if known and winograd.suits(kernel, taps):
        forms["cpu"] = winograd.convolve
    return forms


def convolve(x: jax.Array, kernel: jax.Array, taps: Taps) -> jax.Array:
    """A convolution with a square kernel.

    On CPUs a 1x1 convolution is one matrix product over the pixels of all images: image
    by image, the gradient of the kernel would take up to twice as long. 3x3
    convolutions of many channels use Winograd's algorithm there, see winograd.py.

    A TPU lays eight images side by side for a convolution. Products between
    convolutions would change the layout of the featuremap every time: a tenth of a
    step's time and memory. Fewer than eight images leave registers partly empty. Then
    1x1 convolutions are products there too, because products move fewer bytes, and two
    to four images are convolved in bands of rows, which takes half the time for two
    images where the dilation is 4 and in the stem, and two thirds for four images. Of
    a single image, only the stem is convolved in bands.

    Args:
        x: [B, H, W, C_in].
        kernel: [k, k, C_in, C_out], of x's dtype.
        taps: stride, dilation and padding; a 1x1 kernel uses only the stride.

    Returns:
        [B, H', W', C_out] of x's dtype.
    """
    forms = _forms(x, kernel, taps)
    forms = {name: partial(form, taps=taps) for name, form in forms.items()}
    return by_platform(forms, x, kernel)
