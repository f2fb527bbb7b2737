"""Computes convolutions with the fastest implementation for each platform."""

from functools import partial

import jax

from encnet_jax.models import winograd
from encnet_jax.models.bands import SUBLANES, Taps, in_bands
from encnet_jax.models.by_platform import by_platform

_REGISTER = 128  # Number of channels in a TPU's register.


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
    """Computes a 1x1 convolution as one matrix product over all pixels."""
    x = x[:, :: taps.stride, :: taps.stride]
    rows = x.reshape(-1, x.shape[-1]) @ kernel[0, 0]
    return rows.reshape(*x.shape[:-1], kernel.shape[-1])


def _bands(x: jax.Array, kernel: jax.Array, taps: Taps) -> jax.Array:
    """Convolves bands of rows as if they were separate images."""
    operate = partial(_direct, kernel=kernel, taps=taps, pads_rows=False)
    return in_bands(x, kernel.shape[0], taps, operate)


def _forms(x: jax.Array, kernel: jax.Array, taps: Taps) -> dict:
    """Returns a convolution function for each platform; 'default' is for all others."""
    images, size, channels = x.shape[0], kernel.shape[0], kernel.shape[2]
    # In an exported program the number of images is symbolic. Such a program uses the
    # forms that are acceptable for any number of images.
    known = isinstance(images, int)
    many = not known or images >= SUBLANES
    if size == 1:
        # CPUs: with one product per image, the gradient of the kernel would take up to
        # twice as long. TPUs: for fewer than eight images, products move fewer bytes;
        # for more, they would change the layout of every feature map, which costs a
        # tenth of a step's time and memory.
        return {"cpu": _flat_product, "default": _direct if many else _product}
    forms: dict = {"default": _direct}
    # In the stem and at dilation 4, bands reduce the time to a half for two images and
    # to two thirds for four images. XLA itself splits a single image into bands. Our
    # bands are faster if the channels fill at most half a register.
    fewest = 1 if channels <= _REGISTER // 2 else 2
    if not many and fewest <= images <= SUBLANES // 2:
        forms["tpu"] = _bands
    if known and winograd.suits(kernel, taps):
        forms["cpu"] = winograd.convolve
    return forms


def convolve(x: jax.Array, kernel: jax.Array, taps: Taps) -> jax.Array:
    """Convolves with a square kernel, by the fastest implementation for each platform.

    1x1 convolutions are matrix products on CPUs and, for fewer than eight images, on
    all other platforms. On CPUs, 3x3 convolutions with many channels use Winograd's
    algorithm; see winograd.py. On TPUs, kernels larger than 1x1 are applied to bands of
    rows if there are two to four images; see bands.py. A single image is split into
    bands only if it has few channels, as in the stem.

    Args:
        x: [B, H, W, C_in].
        kernel: [k, k, C_in, C_out], of x's dtype.
        taps: stride, dilation and padding; for a 1x1 kernel, only the stride is used.

    Returns:
        [B, H', W', C_out] of x's dtype.
    """
    forms = _forms(x, kernel, taps)
    forms = {name: partial(form, taps=taps) for name, form in forms.items()}
    return by_platform(forms, x, kernel)
