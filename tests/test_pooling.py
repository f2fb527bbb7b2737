"""Pooling gives the same results in the forms of all platforms."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from encnet_jax.models.by_platform import compiled_for
from encnet_jax.models.pooling import max_pool


def plain(x, border):
    return nn.max_pool(x, (3, 3), (2, 2), ((border, border),) * 2)


@pytest.mark.parametrize("border", [0, 1])
@pytest.mark.parametrize("size", [(16, 12), (15, 13), (9, 10), (3, 3)])
@pytest.mark.parametrize("platform", ["tpu", "cpu"])
def test_forms_have_the_same_maxima_and_gradients(size, border, platform):
    # Few values, many of them equal: both forms must choose the same of equal maxima.
    x = jax.random.randint(jax.random.key(0), (1, *size, 5), -9, 2).astype(jnp.float32)

    def with_gradients(pool):
        weights = jax.random.normal(jax.random.key(1), pool(x, border).shape)
        return jax.value_and_grad(lambda x: jnp.sum(weights * pool(x, border)))(x)

    with compiled_for(platform):
        found = with_gradients(max_pool)
        maxima = max_pool(x, border)
    expected = with_gradients(plain)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-6)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(maxima, plain(x, border))


@pytest.mark.parametrize("images", [1, 2, 8])
def test_a_tpu_gets_bands_for_a_single_image(images):
    program = jax.jit(lambda x: max_pool(x, 1))
    x = jnp.ones((images, 16, 12, 4))
    for platform, banded in (("tpu", images == 1), ("cpu", False), ("cuda", False)):
        with compiled_for(platform):
            text = program.lower(x).as_text()
        assert ("stablehlo.concatenate" in text) == banded, platform


def test_a_nan_is_the_maximum_of_its_windows():
    x = jnp.zeros((1, 9, 9, 1)).at[0, 3, 3].set(jnp.nan)
    with compiled_for("cpu"):
        found = max_pool(x, 1)
    np.testing.assert_array_equal(found, plain(x, 1))
    assert jnp.isnan(found).sum() == 4
