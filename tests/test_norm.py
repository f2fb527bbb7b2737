"""Batch norm over groups of devices equals one device with the group's images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from encnet_jax.models.norm import GroupedAxis, SyncBatchNorm, device_groups

DEVICES = 8


def outputs_and_gradients(layer, variables, x, weights):
    def loss(params, x):
        y, updates = layer.apply(
            {"params": params, "batch_stats": variables["batch_stats"]},
            x,
            True,
            mutable=["batch_stats"],
        )
        return jnp.sum(y * weights), (y, updates["batch_stats"])

    grads, (y, stats) = jax.grad(loss, (0, 1), has_aux=True)(variables["params"], x)
    return y, stats, *grads


@pytest.mark.parametrize("feature_axis", [-1, 1])
def test_eight_devices_equal_one(feature_axis):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(3, 2, (16, 6, 4)), jnp.float32)
    weights = jnp.asarray(rng.standard_normal(x.shape), jnp.float32)
    alone = SyncBatchNorm(None, feature_axis)
    variables = alone.init(jax.random.key(0), x, True)
    variables["params"]["scale"] *= 1.7
    expected = outputs_and_gradients(alone, variables, x, weights)

    def on_device(variables, x, weights):
        layer = SyncBatchNorm("batch", feature_axis)
        y, stats, params, dx = outputs_and_gradients(layer, variables, x, weights)
        return y, stats, jax.lax.psum(params, "batch"), dx

    split = [a.reshape(DEVICES, -1, *a.shape[1:]) for a in (x, weights)]
    step = jax.pmap(
        on_device, "batch", in_axes=(None, 0, 0), out_axes=(0, None, None, 0)
    )
    y, stats, params, dx = step(variables, *split)
    joined = (y.reshape(x.shape), stats, params, dx.reshape(x.shape))
    for ours, theirs in zip(
        jax.tree.leaves(joined), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5)
    # One collective forward, one backward, one for each of the two parameters.
    assert step.lower(variables, *split).as_text().count("all_reduce") == 4


@pytest.mark.parametrize("group", [1, 2, 4, 8, 0])
def test_a_group_equals_one_device_with_its_images(group):
    rng = np.random.default_rng(0)
    # Every image has its own mean, so that each grouping has its own statistics.
    x = rng.normal(rng.normal(0, 3, (16, 1, 1)), 2, (16, 6, 4)).astype(np.float32)
    weights = rng.standard_normal(x.shape).astype(np.float32)
    alone = SyncBatchNorm()
    variables = alone.init(jax.random.key(0), x, True)
    images = 2 * (group or DEVICES)
    expected = [
        outputs_and_gradients(
            alone, variables, x[i : i + images], weights[i : i + images]
        )
        for i in range(0, 16, images)
    ]

    def on_device(variables, x, weights):
        layer = SyncBatchNorm(GroupedAxis("batch", group))
        return outputs_and_gradients(layer, variables, x, weights)

    split = [a.reshape(DEVICES, -1, *a.shape[1:]) for a in (x, weights)]
    step = jax.pmap(on_device, "batch", in_axes=(None, 0, 0))
    y, stats, params, dx = step(variables, *split)
    close = {"rtol": 2e-5, "atol": 2e-5}
    for index, (y_one, stats_one, params_one, dx_one) in enumerate(expected):
        rows = slice(index * images // 2, (index + 1) * images // 2)
        np.testing.assert_allclose(y[rows].reshape(y_one.shape), y_one, **close)
        np.testing.assert_allclose(dx[rows].reshape(dx_one.shape), dx_one, **close)
        for name, each in stats_one.items():
            np.testing.assert_allclose(stats[name][rows.start], each, **close)
        for name, each in params_one.items():
            np.testing.assert_allclose(params[name][rows].sum(0), each, **close)
    text = step.lower(variables, *split).as_text()
    assert text.count("all_reduce") == (0 if group == 1 else 2)


def test_groups_are_neighbours_and_must_divide():
    assert device_groups(8, 4) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert device_groups(8, 8) is None and device_groups(8, 0) is None
    for wrong in (3, 16, -1):
        with pytest.raises(ValueError, match=f"groups of {wrong}"):
            device_groups(8, wrong)


def test_values_and_biased_running_variance():
    x = jnp.asarray([[0.0], [2.0], [4.0], [6.0]])
    layer = SyncBatchNorm()
    variables = layer.init(jax.random.key(0), x, False)
    y, updates = layer.apply(variables, x, True, mutable=["batch_stats"])
    np.testing.assert_allclose(
        y[:, 0], (np.arange(4) * 2 - 3) / np.sqrt(5 + 1e-5), 1e-5
    )
    np.testing.assert_allclose(updates["batch_stats"]["mean"], [0.3], rtol=1e-6)
    # Biased: 5, not 20 / 3.
    np.testing.assert_allclose(updates["batch_stats"]["var"], [0.9 + 0.5], rtol=1e-6)


def test_running_statistics_in_evaluation():
    layer = SyncBatchNorm()
    variables = {
        "params": {"scale": jnp.asarray([2.0]), "bias": jnp.asarray([1.0])},
        "batch_stats": {"mean": jnp.asarray([3.0]), "var": jnp.asarray([4.0])},
    }
    y = layer.apply(variables, jnp.asarray([[5.0]]), False)
    np.testing.assert_allclose(y, [[2 * (5 - 3) / np.sqrt(4 + 1e-5) + 1]], rtol=1e-6)


def test_bfloat16_keeps_float32_statistics():
    x = jnp.full((4096, 1), 1.0, jnp.bfloat16)
    layer = SyncBatchNorm(dtype=jnp.bfloat16)
    variables = layer.init(jax.random.key(0), x, False)
    y, updates = layer.apply(variables, x, True, mutable=["batch_stats"])
    assert y.dtype == jnp.bfloat16
    assert updates["batch_stats"]["mean"].dtype == jnp.float32
    np.testing.assert_allclose(updates["batch_stats"]["mean"], [0.1], rtol=1e-6)
