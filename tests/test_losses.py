"""Losses against plain versions, and at the edges."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from encnet_jax.labels import IGNORE_LABEL
from encnet_jax.losses import (
    class_presence,
    segmentation_loss,
    thinned_labels,
    upsampled_cross_entropy,
)
from encnet_jax.models.resize import resize_bilinear


def plain_cross_entropy(logits, labels, align_corners):
    """All full-resolution logits at once."""
    x = resize_bilinear(logits, *labels.shape[1:], align_corners)
    valid = labels != IGNORE_LABEL
    each = optax.softmax_cross_entropy_with_integer_labels(
        x, jnp.where(valid, labels, 0).astype(jnp.int32)
    )
    return jnp.sum(jnp.where(valid, each, 0))


@pytest.fixture
def inputs():
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(0, 3, (2, 5, 6, 7)), jnp.float32)
    labels = rng.integers(0, 7, (2, 37, 44)).astype(np.uint8)
    labels[:, :9] = IGNORE_LABEL
    return logits, jnp.asarray(labels)


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("row_blocks", [1, 4, 8])
def test_fused_equals_plain_in_value_and_gradient(inputs, align_corners, row_blocks):
    logits, labels = inputs
    fused = jax.value_and_grad(upsampled_cross_entropy)(
        logits, labels, align_corners, row_blocks
    )
    plain = jax.value_and_grad(plain_cross_entropy)(logits, labels, align_corners)
    np.testing.assert_allclose(fused[0], plain[0], rtol=1e-6)
    np.testing.assert_allclose(fused[1], plain[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("spread", [100.0, 400.0])
def test_neighbours_far_apart(inputs, spread):
    """Between winners of different classes every logit is far below the bound."""
    winners = jax.random.randint(jax.random.key(0), (2, 5, 6), 0, 7)
    logits, labels = spread * jax.nn.one_hot(winners, 7), inputs[1]
    found = jax.value_and_grad(upsampled_cross_entropy)(logits, labels)
    plain = jax.value_and_grad(plain_cross_entropy)(logits, labels, True)
    if spread < 110:
        np.testing.assert_allclose(found[0], plain[0], rtol=1e-6)
        np.testing.assert_allclose(found[1], plain[1], rtol=1e-5, atol=1e-5)
    else:
        # Such a pixel's value is too large, by less than it is below the bound.
        assert plain[0] <= found[0] < 2 * plain[0]
        assert np.isfinite(found[1]).all()


def test_equal_sizes_need_no_upsampling(inputs):
    logits, labels = inputs[0], inputs[1][:, 6:11, :6]
    found = jax.value_and_grad(upsampled_cross_entropy)(logits, labels)
    plain = jax.value_and_grad(plain_cross_entropy)(logits, labels, False)
    np.testing.assert_allclose(found[0], plain[0], rtol=1e-6)
    np.testing.assert_allclose(found[1], plain[1], rtol=1e-5, atol=1e-6)


def test_thinned_labels():
    labels = jnp.arange(48, dtype=jnp.uint8).reshape(1, 6, 8)
    found = thinned_labels(labels, jnp.zeros((1, 3, 4, 2)))
    np.testing.assert_array_equal(
        found[0], [[0, 2, 4, 6], [16, 18, 20, 22], [32, 34, 36, 38]]
    )
    with pytest.raises(ValueError, match="after subsampling by a factor of 2"):
        thinned_labels(labels, jnp.zeros((1, 4, 4, 2)))


def test_each_pixel_term_has_a_thinned_grid_and_count_of_its_own(inputs):
    labels = inputs[1][:, :36, :36]
    fine = jnp.asarray(
        np.random.default_rng(2).normal(size=(2, 18, 18, 7)), jnp.float32
    )
    outputs = {"logits": fine, "aux_logits": fine[:, ::3, ::3]}
    loss, terms = segmentation_loss(
        outputs, labels, se_weight=0.2, aux_weight=0.5, thin_labels=True
    )
    for term, cell, logits in (
        ("loss_pixel", 2, "logits"),
        ("loss_aux", 6, "aux_logits"),
    ):
        thin = labels[:, ::cell, ::cell]
        expected = plain_cross_entropy(outputs[logits], thin, False)
        expected /= int(np.sum(np.asarray(thin) != IGNORE_LABEL))
        np.testing.assert_allclose(terms[term], expected, rtol=1e-6)
    np.testing.assert_allclose(loss, terms["loss_pixel"] + 0.5 * terms["loss_aux"])


def test_gradient_is_scaled_by_later_operations(inputs):
    logits, labels = inputs
    once = jax.grad(upsampled_cross_entropy)(logits, labels)
    thrice = jax.grad(lambda x: 3 * upsampled_cross_entropy(x, labels))(logits)
    np.testing.assert_allclose(thrice, 3 * once, rtol=1e-6)


def test_the_fused_loss_uses_a_quarter_of_the_memory():
    logits = jnp.zeros((2, 16, 16, 32))
    labels = jnp.zeros((2, 128, 128), jnp.uint8)

    def temporary_bytes(loss):
        compiled = jax.jit(jax.value_and_grad(loss)).lower(logits, labels).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    plain = temporary_bytes(lambda x, y: plain_cross_entropy(x, y, True))
    assert temporary_bytes(upsampled_cross_entropy) < plain / 4


def test_class_presence_of_hand_made_masks():
    labels = jnp.asarray([[[0, 2], [2, 255]], [[255, 255], [255, 255]]], jnp.uint8)
    np.testing.assert_array_equal(class_presence(labels, 3), [[1, 0, 1], [0, 0, 0]])


@pytest.mark.parametrize("num_classes", [32, 33, 150, 255])
def test_class_presence_of_many_classes(num_classes):
    rng = np.random.default_rng(2)
    labels = rng.integers(0, num_classes, (3, 8, 9)).astype(np.uint8)
    labels[0, 0, 0], labels[1, 0, :2] = IGNORE_LABEL, (num_classes - 1, 31)
    expected = [[i in image for i in range(num_classes)] for image in labels]
    found = class_presence(jnp.asarray(labels), num_classes)
    np.testing.assert_array_equal(found, np.asarray(expected, np.float32))


def outputs_of(logits):
    rng = np.random.default_rng(1)
    batch, num_classes = logits.shape[0], logits.shape[-1]
    presence = jnp.asarray(rng.normal(size=(batch, num_classes)), jnp.float32)
    return {
        "logits": logits,
        "aux_logits": 2 * logits,
        "se_logits": presence,
        "aux_se_logits": -presence,
    }


def test_terms_and_weights(inputs):
    logits, labels = inputs
    outputs = outputs_of(logits)
    loss, terms = segmentation_loss(outputs, labels, se_weight=0.2, aux_weight=0.4)
    num_valid = int(np.sum(np.asarray(labels) != IGNORE_LABEL))
    np.testing.assert_allclose(
        terms["loss_pixel"], plain_cross_entropy(logits, labels, True) / num_valid, 1e-5
    )
    presence = np.stack(
        [[k in image for k in range(7)] for image in np.asarray(labels)]
    )
    z = np.asarray(outputs["se_logits"])
    p = 1 / (1 + np.exp(-z))
    expected = -np.mean(np.where(presence, np.log(p), np.log(1 - p)))
    np.testing.assert_allclose(terms["loss_se"], expected, rtol=1e-5)
    total = (
        terms["loss_pixel"]
        + 0.4 * terms["loss_aux"]
        + 0.2 * (terms["loss_se"] + terms["loss_aux_se"])
    )
    np.testing.assert_allclose(loss, total, rtol=1e-6)


def test_all_ignored_gives_zero_and_finite_gradients(inputs):
    logits, labels = inputs
    ignored = jnp.full_like(labels, IGNORE_LABEL)

    def loss(x):
        return segmentation_loss(outputs_of(x), ignored, se_weight=1, aux_weight=1)[0]

    value, gradient = jax.value_and_grad(loss)(logits)
    assert value == 0
    np.testing.assert_array_equal(gradient, np.zeros_like(logits))


def test_shares_of_devices_sum_to_the_loss_of_the_whole_batch():
    """Devices with few valid pixels must not weigh as much as full ones."""
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(size=(8, 3, 3, 4)), jnp.float32)
    labels = rng.integers(0, 4, (8, 12, 12)).astype(np.uint8)
    labels[0, 1:] = IGNORE_LABEL
    labels[1] = IGNORE_LABEL
    weights = {"se_weight": 0.2, "aux_weight": 0.4}
    outputs = outputs_of(logits)
    expected, _ = segmentation_loss(outputs, jnp.asarray(labels), **weights)

    def share(outputs, labels):
        loss, _ = segmentation_loss(outputs, labels, axis_name="batch", **weights)
        return jax.lax.psum(loss, "batch")

    split = jax.tree.map(lambda x: x[:, None], outputs)
    shares = jax.pmap(share, "batch")(split, labels[:, None])
    np.testing.assert_allclose(shares, np.full(8, expected), rtol=1e-5)
