"""A residual block's end is a ReLU of a sum on every platform."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from encnet_jax.models.by_platform import compiled_for
from encnet_jax.models.residual import relu_of_sum


def sums(dtype):
    """Pairs of every sign and size, some of which cancel."""
    x, y = (jax.random.normal(jax.random.key(i), (64, 64)) for i in range(2))
    x = x * 10.0 ** jnp.linspace(-6, 6, 64)[None]
    y = y.at[:8].set(-x[:8])
    return x.astype(dtype), y.astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_relu_of_sum_equals_relu_of_the_sum_bit_for_bit(dtype):
    x, y = sums(dtype)
    found = jax.jit(relu_of_sum)(x, y)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, jax.nn.relu(x + y))


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_other_platforms_add_and_take_the_relu(platform):
    with compiled_for(platform):
        text = jax.jit(relu_of_sum).lower(*sums("float32")).as_text()
    assert ("stablehlo.negate" in text) == (platform == "cpu")


def test_gradients_are_those_of_the_relu():
    x, y = sums("float32")
    cotangent = jax.random.normal(jax.random.key(2), x.shape)
    found = jax.vjp(relu_of_sum, x, y)[1](cotangent)
    expected = jax.vjp(lambda x, y: jax.nn.relu(x + y), x, y)[1](cotangent)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_cpu_computes_each_sum_of_a_chain_once():
    """Every block's output has two users; without, the last sum holds all of them."""

    def chain(join):
        def apply(x, kernels):
            for kernel in kernels:
                x = join(x, x.reshape(-1, 32) @ kernel)
            return x

        x, kernels = jnp.ones((64, 32)), jnp.ones((6, 32, 32))
        compiled = jax.jit(apply).lower(x, kernels).compile()
        return compiled.cost_analysis()["bytes accessed"]

    assert chain(relu_of_sum) < 0.9 * chain(lambda x, y: jax.nn.relu(x + y))
