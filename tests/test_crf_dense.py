"""Dense refinement: against loops over pairs, in windows, beside canvases."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from encnet_jax.crf import dense

PARAMS = dense.DenseParams(2.0, 4.0, 30.0, 1.5, 2.0)
refine = jax.jit(dense.refine, static_argnames="radius")


def make_scene(height=7, width=9, num_classes=3):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    image[:, : width // 2] //= 4
    probabilities = rng.dirichlet(np.ones(num_classes), (height, width))
    return probabilities.astype(np.float32), image


def loop_refine(probabilities, image, params, radius, iterations):
    """Sums over all pairs within a window, as matrices over pixels."""
    height, width, num_classes = probabilities.shape
    y, x = (i.ravel() for i in np.mgrid[:height, :width])
    down, across = (a[:, None] - a[None] for a in (y, x))
    near = np.maximum(abs(down), abs(across)) <= radius
    distance = down**2.0 + across**2.0
    colours = image.reshape(-1, 3).astype(np.float64)
    colour = ((colours[:, None] - colours[None]) ** 2).sum(-1)
    exponents = {
        params.spatial_weight: distance / params.spatial_px**2,
        params.bilateral_weight: distance / params.bilateral_px**2
        + colour / params.bilateral_levels**2,
    }
    total = 0
    for weight, exponent in exponents.items():
        kernel = np.exp(-exponent / 2) * near
        scale = 1 / np.sqrt(kernel.sum(1))
        total = total + weight * scale[:, None] * kernel * scale[None]
    log_p = np.log(probabilities.reshape(-1, num_classes).astype(np.float64))
    q = np.exp(log_p)
    for _ in range(iterations):
        q = np.exp(log_p + total @ q)
        q /= q.sum(1, keepdims=True)
    return q.reshape(probabilities.shape)


@pytest.mark.parametrize("radius", [1, 3, 40])
def test_a_window_equals_its_pairs(radius):
    probabilities, image = make_scene()
    ours = refine(probabilities, image, PARAMS, radius=radius, iterations=3)
    expected = loop_refine(probabilities, image, PARAMS, radius, 3)
    np.testing.assert_allclose(ours, expected, atol=2e-6)


def test_recomputed_kernel_weights_equal_stored_ones(monkeypatch):
    scene = make_scene()
    held = dense.refine(*scene, PARAMS, radius=2, iterations=3)
    monkeypatch.setattr(dense, "MAX_HELD_BYTES", 0)
    again = dense.refine(*scene, PARAMS, radius=2, iterations=3)
    np.testing.assert_allclose(held, again, rtol=1e-6, atol=1e-7)


def test_a_full_window_equals_all_pairs():
    probabilities, image = make_scene()
    full = refine(probabilities, image, PARAMS, radius=8, iterations=2)
    every = refine(probabilities, image, PARAMS, radius=-1, iterations=2)
    np.testing.assert_allclose(full, every, atol=1e-6)


def test_padding_does_not_change_the_refinement():
    """Pixels outside of the image neither send nor count, whatever they hold."""
    probabilities, image = make_scene()
    alone = refine(probabilities, image, PARAMS, radius=3, iterations=3)
    room = ((0, 4), (0, 6), (0, 0))
    valid = np.pad(np.ones((7, 9), bool), room[:2])
    on_canvas = refine(
        np.pad(probabilities, room),
        np.pad(image, room, constant_values=77),
        PARAMS,
        radius=3,
        iterations=3,
        valid=valid,
    )
    np.testing.assert_allclose(on_canvas[:7, :9], alone, atol=1e-6)
    assert np.all(np.isfinite(on_canvas))


def test_labels_follow_the_edges_of_the_image():
    image = np.zeros((8, 10, 3), np.uint8)
    image[:, 5:] = 200
    truth = (image[..., 0] > 100).astype(int)
    right = np.full((8, 10), 0.7, np.float32)
    right[2, 4] = right[5, 5] = right[6, 1] = 0.4  # Mistaken pixels.
    probabilities = np.where(
        truth[..., None] == np.arange(2), right[..., None], 1 - right[..., None]
    )
    assert np.sum(probabilities.argmax(-1) != truth) == 3
    refined = refine(probabilities, image, PARAMS, radius=3, iterations=5)
    assert np.all(refined.argmax(-1) == truth)


def test_kernels_of_weight_zero_leave_the_scores_unchanged():
    probabilities, image = make_scene()
    silent = PARAMS._replace(bilateral_weight=0.0, spatial_weight=0.0)
    same = refine(probabilities, image, silent, radius=2, iterations=4)
    np.testing.assert_allclose(same, probabilities, atol=1e-6)
    assert (
        jnp.abs(
            refine(probabilities, image, PARAMS, radius=2, iterations=4) - same
        ).max()
        > 0.1
    )
