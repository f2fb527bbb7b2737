"""Convolutions are the same in every form, and each platform gets its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from encnet_jax.errors import UserError
from encnet_jax.models import conv_forms
from encnet_jax.models.bands import Taps
from encnet_jax.models.by_platform import SEVERAL, compiled_for
from encnet_jax.models.conv_forms import convolve


def arrays(*shapes):
    return [jax.random.normal(jax.random.key(i), s) for i, s in enumerate(shapes)]


def with_gradients(form, taps):
    def loss(x, kernel):
        return jnp.sum(form(x, kernel, taps) ** 2)

    return jax.jit(jax.value_and_grad(loss, (0, 1)))


def assert_agree(form, taps, *shapes):
    """In float64, where the order of sums does not hide a wrong pixel."""
    with jax.enable_x64(True):
        x, kernel = (a.astype(jnp.float64) for a in arrays(*shapes))
        found = with_gradients(form, taps)(x, kernel)
        expected = with_gradients(conv_forms._direct, taps)(x, kernel)
        for one, other in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
            assert one.dtype == np.float64
            np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10)


def lowered(x, kernel, taps, platform):
    forward = jax.jit(lambda x, kernel: convolve(x, kernel, taps))
    with compiled_for(platform):
        return forward.trace(x, kernel).lower().as_text()


@pytest.mark.parametrize("stride", [1, 2])
def test_a_1x1_convolution_is_a_product_on_cpus_and_of_few_images(stride):
    shapes, taps = [(8, 7, 6, 4), (1, 1, 4, 5)], Taps(stride)
    assert_agree(convolve, taps, *shapes)
    x, kernel = arrays(*shapes)
    for platform, batch, convolution in (
        ("cpu", 8, False),
        ("cuda", 8, True),
        ("tpu", 8, True),
        ("tpu", 2, False),
    ):
        text = lowered(x[:batch], kernel, taps, platform)
        found = "stablehlo.convolution" in text
        assert found == convolution, (platform, batch)


TAPS = pytest.mark.parametrize(
    "taps", [Taps(2, 1, 1), Taps(1, 1, 1), Taps(1, 2, 2), Taps(1, 4, 4), Taps(2, 2, 0)]
)
SIZES = pytest.mark.parametrize("size", [(16, 12), (15, 13), (9, 10)])


@TAPS
@SIZES
@pytest.mark.parametrize("images", [1, 2, 3, 4])
def test_bands_of_few_images_are_their_convolution(taps, size, images):
    assert_agree(conv_forms._bands, taps, (images, *size, 4), (3, 3, 4, 5))


@pytest.mark.parametrize("channels", [4, 128])
@pytest.mark.parametrize("images", [1, 2, 4, 5, 8])
def test_a_tpu_gets_bands_for_up_to_four_images(images, channels):
    """For one only where its channels leave half of a register empty."""
    x, kernel = arrays((images, 16, 12, channels), (3, 3, channels, 5))
    text = lowered(x, kernel, Taps(1, 1, 1), "tpu")
    banded = images in (2, 4) or (images == 1 and channels == 4)
    assert ("stablehlo.concatenate" in text) == banded
    assert "concatenate" not in lowered(x, kernel, Taps(1, 1, 1), "cpu")


def test_a_cpu_gets_winograd_where_many_channels_are_convolved_at_stride_1():
    for channels, features, stride, expected in (
        (64, 128, 1, True),
        (64, 64, 1, False),
        (32, 512, 1, False),
        (64, 128, 2, False),
    ):
        x, kernel = arrays((1, 16, 12, channels), (3, 3, channels, features))
        text = lowered(x, kernel, Taps(stride, 1, 1), "cpu")
        products = text.count("stablehlo.dot_general")
        assert products == (16 if expected else 0), (channels, features, stride)
        assert ("stablehlo.convolution" in text) != expected
        for platform in ("cuda", "tpu"):
            text = lowered(x, kernel, Taps(stride, 1, 1), platform)
            assert "stablehlo.dot_general" not in text, platform


@pytest.mark.parametrize("platform", ["cpu", "tpu"])
@pytest.mark.parametrize("size", [1, 3])
def test_the_switch_leaves_the_default_form(monkeypatch, platform, size):
    x, kernel = arrays((2, 16, 12, 64), (size, size, 64, 128))
    taps = Taps(1, 1, size // 2)
    specific = lowered(x, kernel, taps, platform)
    monkeypatch.setenv("ENCNET_PLATFORM_FORMS", "0")
    plain = lowered(x, kernel, taps, platform)
    if size == 3:
        assert "stablehlo.convolution" in plain and "concatenate" not in plain
        assert specific != plain
    else:
        assert "stablehlo.dot_general" in plain  # The default for few images.
    monkeypatch.setenv("ENCNET_PLATFORM_FORMS", "no")
    with pytest.raises(UserError, match="ENCNET_PLATFORM_FORMS is 'no'.*0 or 1"):
        lowered(x, kernel, taps, platform)


def test_a_program_for_several_platforms_contains_the_form_of_each():
    x, kernel = arrays((8, 7, 6, 4), (1, 1, 4, 5))
    forward = jax.jit(lambda x, kernel: convolve(x, kernel, Taps(1)))
    with compiled_for(SEVERAL):
        text = jax.export.export(forward, platforms=["cpu", "tpu"])(x, kernel)
    assert "stablehlo.dot_general" in text.mlir_module()
    assert "stablehlo.convolution" in text.mlir_module()


@pytest.mark.gpu
@pytest.mark.parametrize("dilation", [1, 2, 4])
def test_a_gpu_computes_dilated_convolutions_and_gradients(dilation):
    """Equal to those of the CPU; the bound allows for TF32 products."""
    taps = Taps(1, dilation, dilation)
    inputs = arrays((2, 20, 20, 16), (3, 3, 16, 8))
    results = []
    for device in (jax.devices("gpu")[0], jax.devices("cpu")[0]):
        placed = jax.device_put(inputs, device)
        results.append(jax.device_get(with_gradients(convolve, taps)(*placed)))
    for one, other in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=2e-2 * np.abs(other).max())
