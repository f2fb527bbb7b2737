"""Winograd's convolutions equal direct ones, and their rounding errors are bounded."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from encnet_jax.models import conv_forms, winograd
from encnet_jax.models.bands import Taps

TAPS = [Taps(1, 1, 1), Taps(1, 2, 2), Taps(1, 4, 4), Taps(1, 3, 0), Taps(1, 1, 2)]


def arrays(x_shape, kernel_shape):
    """Returns images after a ReLU, and a kernel drawn as networks draw theirs."""
    rng = np.random.default_rng(0)
    x = np.maximum(rng.normal(size=x_shape), 0)
    kernel = rng.normal(size=kernel_shape) / np.sqrt(np.prod(kernel_shape[:3]))
    return x, kernel


def brute_force(x, kernel, taps):
    """The definition, output by output."""
    padding = (taps.padding, taps.padding)
    x = np.pad(x, ((0, 0), padding, padding, (0, 0)))
    reach = 2 * taps.dilation
    height, width = x.shape[1] - reach, x.shape[2] - reach
    y = np.zeros((x.shape[0], height, width, kernel.shape[-1]))
    for i in range(height):
        for j in range(width):
            window = x[:, i : i + reach + 1 : taps.dilation]
            window = window[:, :, j : j + reach + 1 : taps.dilation]
            y[:, i, j] = np.einsum("bijc,ijco->bo", window, kernel)
    return y


@pytest.mark.parametrize("size", [(8, 8), (9, 6), (11, 13)])
@pytest.mark.parametrize("taps", TAPS)
def test_equal_to_the_definition(taps, size):
    with jax.enable_x64(True):
        x, kernel = arrays((2, *size, 3), (3, 3, 3, 4))
        found = winograd.convolve(jnp.asarray(x), jnp.asarray(kernel), taps)
        np.testing.assert_allclose(found, brute_force(x, kernel, taps), atol=1e-13)


@pytest.mark.parametrize("taps", TAPS)
@pytest.mark.parametrize("block", [6, 4, 2])  # One block; no equal blocks; three.
def test_gradients_equal_those_of_the_direct_form(taps, block, monkeypatch):
    monkeypatch.setattr(winograd, "_BLOCK_CHANNELS", block)
    with jax.enable_x64(True):
        x, kernel = arrays((2, 11, 8, 6), (3, 3, 6, 4))

        def gradients(form):
            y, vjp = jax.vjp(lambda x, kernel: form(x, kernel, taps), x, kernel)
            return vjp(jnp.sin(y))

        found, expected = map(gradients, (winograd.convolve, conv_forms._direct))
        for one, other in zip(found, expected, strict=True):
            assert one.dtype == np.float64
            np.testing.assert_allclose(one, other, atol=1e-12)


@pytest.mark.parametrize("dilation", [1, 2, 4])
@pytest.mark.parametrize("channels", [64, 512, 2048])
def test_rounding_errors_are_bounded(channels, dilation):
    """Relative to the largest output; the direct form's are a few times smaller."""
    x, kernel = arrays((1, 16, 16, channels), (3, 3, channels, 64))
    taps = Taps(1, dilation, dilation)
    with jax.enable_x64(True):
        exact = np.asarray(conv_forms._direct(x, kernel, taps))
    x, kernel = (jnp.asarray(array, jnp.float32) for array in (x, kernel))
    found = winograd.convolve(x, kernel, taps)
    assert found.dtype == np.float32
    error = np.abs(np.asarray(found, np.float64) - exact).max() / np.abs(exact).max()
    assert error < 2e-6
