"""The Encoding Layer against its definition, written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from encnet_jax.models.encoding import Encoding, encode


def brute_force(features, codewords, smoothing):
    """Equation 1 with loops, in float64."""
    batch, positions, channels = features.shape
    result = np.zeros((batch, len(codewords), channels))
    for b in range(batch):
        for n in range(positions):
            residuals = features[b, n] - codewords
            exponent = -smoothing * (residuals**2).sum(1)
            weights = np.exp(exponent - exponent.max())
            result[b] += (weights / weights.sum())[:, None] * residuals
    return result


@pytest.fixture
def inputs():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((2, 5, 3))
    codewords = rng.standard_normal((4, 3))
    return features, codewords, rng.uniform(0, 1, 4)


@pytest.mark.parametrize("images", [1, 2, 7, 8, 9])
def test_equals_brute_force_of_few_and_of_many_images(images):
    rng = np.random.default_rng(0)
    features = rng.standard_normal((images, 5, 3))
    codewords, smoothing = rng.standard_normal((4, 3)), rng.uniform(0, 1, 4)
    ours = encode(
        *(jnp.asarray(x, jnp.float32) for x in (features, codewords, smoothing))
    )
    expected = brute_force(features, codewords, smoothing)
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)


def test_hand_numbers():
    # One feature at 1, codewords at 0 and 2, equally far: half of each residual.
    result = encode(jnp.ones((1, 1, 1)), jnp.asarray([[0.0], [2.0]]), jnp.ones(2))
    np.testing.assert_allclose(result, [[[0.5], [-0.5]]])


def test_gradients(inputs):
    def encode_arrays(*arguments):  # check_grads calls it with NumPy arrays.
        return encode(*(jnp.asarray(x, jnp.float32) for x in arguments))

    check_grads(encode_arrays, inputs, 1, ["rev"], 1e-2)


def test_bfloat16_features_are_encoded_in_float32(inputs):
    features, codewords, smoothing = (jnp.asarray(x, jnp.float32) for x in inputs)
    features = features.astype(jnp.bfloat16)
    expected = brute_force(
        *(np.asarray(x, float) for x in (features, codewords, smoothing))
    )
    np.testing.assert_allclose(
        encode(features, codewords, smoothing), expected, rtol=1e-5, atol=1e-5
    )


def test_memory_never_contains_all_residuals():
    """No array of B * N * K * D elements, forward or backward."""
    batch, positions, codes, channels = 2, 64, 8, 16
    shapes = [(batch, positions, channels), (codes, channels), (codes,)]
    arguments = [jnp.ones(s) for s in shapes]
    jaxpr = jax.make_jaxpr(jax.grad(lambda *a: encode(*a).sum(), (0, 1, 2)))(*arguments)
    largest = max(
        np.prod(v.aval.shape) for eqn in jaxpr.jaxpr.eqns for v in eqn.outvars
    )
    assert largest < batch * positions * codes * channels


def test_mismatched_channels_are_named():
    with pytest.raises(ValueError, match="3 channels, but codewords have 4"):
        encode(jnp.ones((1, 2, 3)), jnp.ones((5, 4)), jnp.ones(5))
    with pytest.raises(ValueError, match=r"expected \(5,\), one factor"):
        encode(jnp.ones((1, 2, 3)), jnp.ones((5, 3)), jnp.ones(4))


def test_initial_values_equal_those_of_the_released_code():
    layer = Encoding(32)
    params = layer.init(jax.random.key(0), jnp.ones((1, 2, 2, 128)))["params"]
    bound = (32 * 128) ** -0.5
    assert 0.9 * bound < np.abs(params["codewords"]).max() <= bound
    assert 0 <= params["smoothing"].min() < 0.2
    assert 0.8 < params["smoothing"].max() <= 1
