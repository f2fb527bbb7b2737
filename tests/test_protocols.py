"""Averaging protocols: the released code's numbers, and loops that spell them out."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
import reference_models
from one_image import predict_scores
from toy_segmenter import ToySegmenter, random_image

from encnet_jax import models, torch_weights
from encnet_jax.labels import IGNORE_LABEL
from encnet_jax.models.resize import resize_bilinear
from encnet_jax.preprocess import normalise
from encnet_jax.scoring.protocols import canvas, windows
from encnet_jax.scoring.protocols.whole_images import class_ids
from encnet_jax.torch_weights import names, state_dicts

SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
BLACK = np.asarray(normalise(np.zeros(3)))


@pytest.mark.golden
@pytest.mark.parametrize("name", reference_models.names("scales"))
def test_release_scores_equal_the_reference(reference_dir, name):
    reference, expected = reference_models.load(reference_dir, name)
    seeded = reference_models.seeded(reference_dir)
    m, num_classes = reference_models.release_model(reference), reference["num_classes"]
    # The reference lists no weights; other references hold these names to be theirs.
    shapes = state_dicts.variable_shapes(m, num_classes)
    entries = names.table(shapes, torch_weights.find("authors"), m)
    state_dict = seeded.seeded_state_dict({e.name: e.shape for e in entries})
    model = models.build(m, num_classes)
    scores = predict_scores(
        lambda variables, images: model.apply(variables, images)["logits"],
        torch_weights.convert(state_dict, m, num_classes),
        seeded.seeded_image(**reference["input"])[0].transpose(1, 2, 0),
        scales=reference["scales"],
        flip=reference["flip"],
        base_size=reference["base_size"],
        crop_size=reference["crop_size"],
        protocol="release",
    )
    ours = np.moveaxis(scores, -1, 0)[:, ::4, ::4]
    error = np.abs(ours - expected["scores"]).max() / np.abs(expected["scores"]).max()
    print(f"largest difference: {error:.1e} of the largest score")
    assert error <= 2e-4
    assert np.mean(scores.argmax(-1) == expected["prediction"]) >= 0.999


def release_loop(segmenter, image, *, scales, flip, base_size, crop_size):
    """The released geometry as loops over windows of the normalised image [H, W, 3]."""
    height, width = image.shape[:2]
    total, stride = 0.0, crop_size * 2 // 3

    def network(window):
        def upsampled(x):
            logits = segmenter.logits(segmenter.variables, x[None])
            return np.asarray(resize_bilinear(logits, crop_size, crop_size))[0]

        logits = upsampled(window)
        if flip:
            logits = logits + upsampled(window[:, ::-1])[:, ::-1]
        return np.exp(logits)

    for scale in scales:
        long_side = math.ceil(base_size * scale)
        h, w = (
            (long_side, int(width * long_side / height + 0.5))
            if height > width
            else (int(height * long_side / width + 0.5), long_side)
        )
        scaled = np.asarray(resize_bilinear(image[None], h, w))[0]
        padded = pad_black(scaled, max(h, crop_size), max(w, crop_size))
        sums = np.zeros((*padded.shape[:2], len(segmenter.variables["bias"])))
        counts = np.zeros((*padded.shape[:2], 1))
        for i in range(math.ceil((padded.shape[0] - crop_size) / stride) + 1):
            for j in range(math.ceil((padded.shape[1] - crop_size) / stride) + 1):
                y, x = i * stride, j * stride
                window = padded[y : y + crop_size, x : x + crop_size]
                part = window.shape[:2]
                scores = network(pad_black(window, crop_size, crop_size))
                sums[y : y + crop_size, x : x + crop_size] += scores[
                    : part[0], : part[1]
                ]
                counts[y : y + crop_size, x : x + crop_size] += 1
        score = np.float32((sums / counts)[:h, :w])
        total = total + np.asarray(resize_bilinear(score[None], height, width))[0]
    return total


def pad_black(image, height, width):
    padded = np.broadcast_to(BLACK, (height, width, 3)).copy()
    padded[: image.shape[0], : image.shape[1]] = image
    return padded


@pytest.mark.parametrize("size", [(50, 75), (90, 41), (64, 64)])
@pytest.mark.parametrize("flip", [True, False])
def test_release_equals_a_loop_over_windows(size, flip):
    segmenter = ToySegmenter()
    image = np.asarray(normalise(random_image(*size)))
    geometry = {"scales": SCALES, "flip": flip, "base_size": 52, "crop_size": 48}
    expected = release_loop(segmenter, image, **geometry)
    scores = predict_scores(
        segmenter.logits, segmenter.variables, image, protocol="release", **geometry
    )
    np.testing.assert_allclose(scores, expected, rtol=2e-5)


def test_released_geometry_at_full_size():
    """Forward passes of the perf notes: 36, 46 and 28 with their mirror images."""
    geometry = {"scales": SCALES, "base_size": 520, "crop_size": 480}
    sizes = [(512, 683), (512, 512), (512, 910), (910, 512)]
    assert [windows.num_windows(*s, **geometry) for s in sizes] == [18, 23, 14, 14]
    assert windows.scaled_size(512, 683, 1.75, 520) == (682, 910)
    assert list(windows.starts(910, 480)) == [0, 320, 640]
    assert list(windows.starts(300, 480)) == [0]


def test_multiscale_is_the_mean_of_softmax_at_native_size():
    segmenter = ToySegmenter()
    image = random_image(50, 75)
    views = []
    for scale in (0.5, 1.5):
        for mirrored in (False, True):
            x = image[:, ::-1] if mirrored else image
            h, w = round(50 * scale), round(75 * scale)
            x = canvas.resize(np.float32(x), h, w)
            x = canvas.pad(x, canvas.round_up(h, 32), canvas.round_up(w, 32), 0)
            logits = segmenter.logits(segmenter.variables, normalise(x)[None])
            logits = resize_bilinear(logits, *x.shape[:2])[:, :h, :w]
            p = np.exp(np.asarray(resize_bilinear(logits, 50, 75))[0])
            p /= p.sum(-1, keepdims=True)
            views.append(p[:, ::-1] if mirrored else p)
    scores = predict_scores(
        segmenter.logits,
        segmenter.variables,
        np.asarray(normalise(image)),
        scales=(0.5, 1.5),
        flip=True,
        base_size=0,
        crop_size=0,
        bucket=32,
    )
    np.testing.assert_allclose(scores, np.mean(views, axis=0), atol=1e-5)
    np.testing.assert_allclose(scores.sum(-1), 1, rtol=1e-5)


@pytest.mark.parametrize("protocol", ["multiscale", "release"])
def test_mirrored_images_get_mirrored_scores(protocol):
    """Averaging over flips leaves no left or right, where nothing is padded."""
    segmenter = ToySegmenter()
    image = np.asarray(normalise(random_image(64, 64)))
    fields = {"scales": (1.0,), "flip": True, "base_size": 64, "crop_size": 64}

    def scores(x):
        return predict_scores(
            segmenter.logits, segmenter.variables, x, protocol=protocol, **fields
        )

    np.testing.assert_allclose(
        scores(image[:, ::-1]), scores(image)[:, ::-1], rtol=1e-4
    )


def test_large_logits_stay_finite():
    """exp() of them overflows; infinity times a weight of zero would be NaN."""

    def confident(variables, images):
        return jnp.full(
            (*images[:, ::8, ::8, 0].shape, 3), jnp.array([90.0, 60.0, 0.0])
        )

    scores = predict_scores(
        confident,
        {},
        np.zeros((40, 60, 3), np.float32),
        scales=SCALES,
        flip=True,
        base_size=52,
        crop_size=48,
        protocol="release",
    )
    assert np.isfinite(scores).all() and (scores.argmax(-1) == 0).all()


@pytest.mark.parametrize("protocol", ["release", "multiscale"])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_logits_that_are_not_finite_leave_no_score(protocol, value):
    """The limit of the exponent must not make them a class."""

    def overflowing(variables, images):
        logits = jnp.zeros((*images[:, ::8, ::8, 0].shape, 3))
        return logits.at[..., 1].set(value)

    fields = {"scales": (1.0,), "flip": True, "base_size": 52, "crop_size": 48}
    image = np.zeros((40, 60, 3), np.float32)
    scores = predict_scores(overflowing, {}, image, protocol=protocol, **fields)
    assert (np.asarray(class_ids(scores)) == IGNORE_LABEL).all()
