"""Bilinear resizing in both corner conventions."""

import jax.numpy as jnp
import numpy as np
import pytest

from encnet_jax.models.heads.pspnet import adaptive_pool_matrix
from encnet_jax.models.resize import interpolation_matrix, resize_bilinear


def test_hand_numbers():
    half = [[1, 0], [2 / 3, 1 / 3], [1 / 3, 2 / 3], [0, 1]]
    np.testing.assert_allclose(interpolation_matrix(4, 2, True), half, rtol=1e-6)
    centres = [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]]
    np.testing.assert_allclose(interpolation_matrix(4, 2, False), centres, rtol=1e-6)
    np.testing.assert_allclose(interpolation_matrix(1, 3, True), [[1, 0, 0]])


@pytest.mark.parametrize("align_corners", [True, False])
def test_equals_torch(align_corners):
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).standard_normal((2, 7, 9, 3)).astype(np.float32)
    for size in [(56, 65), (5, 4), (7, 20)]:
        expected = torch.nn.functional.interpolate(
            torch.from_numpy(x.transpose(0, 3, 1, 2)),
            size=size,
            mode="bilinear",
            align_corners=align_corners,
        ).numpy()
        ours = resize_bilinear(jnp.asarray(x), *size, align_corners)
        np.testing.assert_allclose(ours.transpose(0, 3, 1, 2), expected, atol=2e-5)


def test_linear_ramp_stays_linear():
    ramp = jnp.arange(5.0)[None, :, None, None] * jnp.ones((1, 5, 3, 1))
    tall = resize_bilinear(ramp, 9, 3)
    np.testing.assert_allclose(tall[0, :, 0, 0], np.arange(9) / 2, rtol=1e-6)


def test_adaptive_pooling_shares_samples():
    expected = [[0.5, 0.5, 0, 0, 0], [0, 1 / 3, 1 / 3, 1 / 3, 0], [0, 0, 0, 0.5, 0.5]]
    np.testing.assert_allclose(adaptive_pool_matrix(3, 5), expected, rtol=1e-6)
