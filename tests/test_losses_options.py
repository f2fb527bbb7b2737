"""Departures from the paper's pixel loss, each against PyTorch in double precision."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from encnet_jax.labels import IGNORE_LABEL
from encnet_jax.losses import PixelOptions, segmentation_loss
from encnet_jax.losses.hard_pixels import hard_labels

CLASSES = 7
WEIGHTS = (0.2, 3.0, 1.0, 0.5, 2.5, 0.0, 1.5)
FORMS = {
    "weights": PixelOptions(class_weights=WEIGHTS),
    "smoothing": PixelOptions(label_smoothing=0.1),
    "weights and smoothing": PixelOptions(class_weights=WEIGHTS, label_smoothing=0.2),
    "focal": PixelOptions(focal_gamma=2.0),
    "focal below 1": PixelOptions(focal_gamma=0.5, class_weights=WEIGHTS),
    "dice": PixelOptions(dice_weight=0.7),
    "hard by threshold": PixelOptions(ohem_threshold=0.3),
    "hard by number": PixelOptions(ohem_min_kept=500),
    "hard by either": PixelOptions(
        ohem_threshold=0.05, ohem_min_kept=200, class_weights=WEIGHTS
    ),
}


def random_inputs(batch=2, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (batch, 5, 6, CLASSES)).astype(np.float32)
    labels = rng.integers(0, CLASSES - 1, (batch, 37, 44)).astype(np.uint8)
    labels[:, :9] = IGNORE_LABEL
    labels[0, 20:, :30] = IGNORE_LABEL
    return logits, labels


def in_torch(logits, labels, options):
    """Returns the loss and its gradient by the logits, float64, of the whole batch."""
    torch = pytest.importorskip("torch")
    leaf = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    x = torch.nn.functional.interpolate(
        leaf.permute(0, 3, 1, 2),
        labels.shape[1:],
        mode="bilinear",
        align_corners=True,
    )
    y = torch.tensor(labels, dtype=torch.int64)
    valid = y != IGNORE_LABEL
    log_p = x.log_softmax(1).permute(0, 2, 3, 1)[valid]
    y = y[valid]
    weights = torch.ones(CLASSES, dtype=torch.float64)
    if options.class_weights:
        weights = torch.tensor(options.class_weights, dtype=torch.float64)
    nats = -log_p.gather(1, y[:, None])[:, 0]
    loss = 0.0
    if options.dice_weight:
        one_hot = torch.nn.functional.one_hot(y, CLASSES)
        p = log_p.exp()
        overlap = 2 * (p * one_hot).sum(0) / (p.sum(0) + one_hot.sum(0))
        loss = options.dice_weight * (1 - overlap[one_hot.sum(0) > 0].mean())
    if options.ohem_threshold or options.ohem_min_kept:
        kept = nats.exp().reciprocal() < options.ohem_threshold
        if options.ohem_min_kept:
            hardest = nats.argsort(descending=True)
            kept[hardest[: options.ohem_min_kept * len(labels)]] = True
        log_p, y, nats = log_p[kept], y[kept], nats[kept]
    if options.focal_gamma:
        each = weights[y] * (1 - (-nats).exp()) ** options.focal_gamma * nats
        loss = loss + each.sum() / weights[y].sum()
    else:
        loss = loss + torch.nn.functional.cross_entropy(
            log_p, y, weights, label_smoothing=options.label_smoothing
        )
    loss.backward()
    return loss.item(), leaf.grad.numpy()


@partial(jax.jit, static_argnums=(2, 3))
def in_jax(logits, labels, options, axis_name=None):
    def loss(x):
        return segmentation_loss(
            {"logits": x},
            labels,
            se_weight=0.0,
            aux_weight=0.0,
            row_blocks=5,
            options=options,
            axis_name=axis_name,
        )[0]

    return jax.value_and_grad(loss)(logits)


@pytest.mark.parametrize("form", FORMS)
def test_value_and_gradient_are_pytorchs(form):
    logits, labels = random_inputs()
    value, gradient = in_jax(logits, labels, FORMS[form])
    expected, expected_gradient = in_torch(logits, labels, FORMS[form])
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    scale = np.abs(expected_gradient).max()
    np.testing.assert_allclose(gradient / scale, expected_gradient / scale, atol=3e-6)


@pytest.mark.parametrize("form", ["weights", "dice", "hard by either"])
def test_shares_of_devices_are_those_of_the_global_batch(form):
    """Mined pixels, weights and overlaps are counted over all devices."""
    logits, labels = random_inputs(batch=8)
    expected, expected_gradient = in_jax(logits, labels, FORMS[form])

    def share(x, y):
        value, gradient = in_jax(x, y, FORMS[form], "batch")
        return jax.lax.psum(value, "batch"), gradient

    values, gradients = jax.pmap(share, "batch")(logits[:, None], labels[:, None])
    np.testing.assert_allclose(values, np.full(8, expected), rtol=1e-5)
    np.testing.assert_allclose(gradients[:, 0], expected_gradient, atol=1e-8)


@pytest.mark.parametrize("form", FORMS)
def test_images_without_labels_give_zero_and_no_gradient(form):
    logits, labels = random_inputs()
    value, gradient = in_jax(logits, np.full_like(labels, 255), FORMS[form])
    assert value == 0
    np.testing.assert_array_equal(gradient, np.zeros_like(logits))


@pytest.mark.parametrize("form", FORMS)
def test_sure_predictions_give_finite_gradients(form):
    logits, labels = random_inputs()
    logits = np.where(np.arange(CLASSES) == 1, 1e4, logits).astype(np.float32)
    labels = np.where(labels == 255, labels, 1).astype(np.uint8)
    value, gradient = in_jax(logits, labels, FORMS[form])
    assert np.isfinite(value) and np.isfinite(gradient).all()


def kept(logits, labels, **fields):
    logits, labels = jnp.asarray(logits), jnp.asarray(labels)
    mined = hard_labels(logits, labels, align_corners=True, row_blocks=4, **fields)
    return np.asarray(mined) != IGNORE_LABEL


def test_the_requested_number_of_hard_pixels_is_kept():
    logits, labels = random_inputs()
    assert kept(logits, labels, threshold=0.0, min_kept=123).sum() == 246
    every = (labels != IGNORE_LABEL).sum()
    assert kept(logits, labels, threshold=0.0, min_kept=10**6).sum() == every
    assert kept(logits, labels, threshold=1.0, min_kept=0).sum() == every


def test_a_confident_correct_pixel_is_the_easiest():
    logits = jnp.zeros((1, 2, 2, 3)).at[0, 0, 0, 1].set(200.0)
    labels = jnp.asarray([[[1, 1], [2, 2]]], jnp.uint8)
    found = kept(logits, labels, threshold=0.0, min_kept=3)
    np.testing.assert_array_equal(found[0], [[False, True], [True, True]])
    # Fewer labelled pixels than wanted: the easiest stays too.
    assert kept(logits, labels, threshold=0.0, min_kept=5).all()


def test_class_weights_must_be_as_many_as_classes():
    logits, labels = random_inputs()
    with pytest.raises(ValueError, match="class_weights has 3 values; expected 7"):
        in_jax(logits, labels, PixelOptions(class_weights=(1.0, 2.0, 3.0)))
