"""Evaluation: every pixel of every image once, whatever protocol and devices."""

import contextlib
import io
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_segmenter import STRIDE, ToySegmenter, make_evaluator, random_image
from tqdm import tqdm

from encnet_jax import config as config_lib
from encnet_jax.config import defaults
from encnet_jax.labels import IGNORE_LABEL
from encnet_jax.models.resize import resize_bilinear
from encnet_jax.preprocess import normalise
from encnet_jax.scoring import object_sizes, protocols
from encnet_jax.scoring.evaluator import progress_bar
from encnet_jax.scoring.metrics import ConfusionMatrix
from encnet_jax.scoring.protocols import canvas, grouping, whole_images
from encnet_jax.scoring.protocols.centre_crop import centre_crop

CLASSES = 5


def make_config(protocol, **fields):
    config = defaults.get_config()
    config.eval.protocol = protocol
    config.eval.bucket = 16
    config.eval.scales = (0.5, 1.5)
    config.eval.base_size, config.eval.crop_size = 40, 32
    config.model.mask_padding = False  # test_inside.py has the other way.
    config.update_from_flattened_dict(fields)
    return config_lib.resolve(config)


def make_examples(sizes, seed=0):
    rng = np.random.default_rng(seed)
    for index, (height, width) in enumerate(sizes):
        label = rng.integers(0, CLASSES, (height, width)).astype(np.uint8)
        label[0, :3] = IGNORE_LABEL
        image = random_image(height, width, seed=index)
        yield {"image": image, "label": label, "id": index}


def mixed_sizes(number, seed=1):
    return [tuple(s) for s in np.random.default_rng(seed).integers(24, 60, (number, 2))]


@pytest.mark.parametrize("protocol", protocols.PROTOCOLS.names())
def test_one_and_eight_devices_give_one_matrix(protocol):
    """17 images: they fill no batch of eight, and every one counts once."""
    segmenter = ToySegmenter(CLASSES)
    sizes = [(24, 40), (40, 24), (33, 50), (24, 40)] * 4 + [(40, 40)]
    matrices = []
    for devices in (jax.local_devices()[:1], jax.local_devices()):
        evaluator = make_evaluator(segmenter, make_config(protocol), CLASSES, devices)
        examples = make_examples(sizes)
        matrices.append(evaluator.confusion(segmenter.variables, examples).counts)
    np.testing.assert_array_equal(*matrices)
    labelled = sum(h * w - 3 for h, w in sizes)
    if protocol != "centre_crop":
        assert matrices[0].sum() == labelled
    else:
        assert 16 * 32**2 < matrices[0].sum() <= 17 * 32**2


@pytest.mark.parametrize("protocol", protocols.PROTOCOLS.names())
def test_predictions_equal_the_counted_ones(protocol):
    segmenter = ToySegmenter(CLASSES)
    evaluator = make_evaluator(segmenter, make_config(protocol), CLASSES)
    sizes = [(30, 44), (44, 30), (30, 44), (50, 50), (30, 44)]
    matrix, seen = ConfusionMatrix(CLASSES), []
    for example, ids in evaluator.predict(segmenter.variables, make_examples(sizes)):
        assert ids.shape == example["label"].shape == example["image"].shape[:2]
        assert len(np.unique(ids)) > 1
        matrix.update(example["label"], ids)
        seen.append(example["id"])
    assert sorted(seen) == [0, 1, 2, 3, 4]
    counted = evaluator.confusion(segmenter.variables, make_examples(sizes))
    np.testing.assert_array_equal(counted.counts, matrix.counts)


def test_single_predicts_the_class_of_the_largest_upsampled_logit():
    segmenter, config = ToySegmenter(CLASSES), make_config("single")
    (example,) = make_examples([(40, 55)])
    padded = canvas.pad(example["image"], 48, 64, 0)
    logits = segmenter.logits(segmenter.variables, normalise(padded)[None])
    expected = np.argmax(
        np.asarray(resize_bilinear(logits, 48, 64))[0, :40, :55], axis=-1
    )
    evaluator = make_evaluator(segmenter, config, CLASSES)
    ((_, ids),) = evaluator.predict(segmenter.variables, [example])
    assert np.mean(ids == expected) > 0.999


@pytest.mark.parametrize("protocol", ["single", "multiscale"])
def test_probabilities_can_be_upsampled_instead(protocol):
    """They differ from upsampled logits in some labels, and only so."""
    fields = {"eval.scales": (1.0,), "eval.flip": False, "eval.bucket": 8}
    (example,) = make_examples([(48, 64)])
    segmenter, found = ToySegmenter(CLASSES), {}
    for upsampled in ("logits", "probabilities"):
        config = make_config(protocol, **fields, **{"eval.upsampled": upsampled})
        evaluator = make_evaluator(segmenter, config, CLASSES)
        ((_, found[upsampled]),) = evaluator.predict(segmenter.variables, [example])
    logits = segmenter.logits(segmenter.variables, normalise(example["image"])[None])
    scores = resize_bilinear(jax.nn.softmax(logits), 48, 64)[0]
    expected = np.argmax(np.asarray(scores), axis=-1)
    assert np.mean(found["probabilities"] == expected) > 0.999
    assert np.mean(found["logits"] == expected) < 0.99


def test_logits_of_a_finer_grid():
    """The protocol asks the model for its stride."""

    class Fine(ToySegmenter):
        def apply(self, variables, images, train=False):
            logits = super().apply(variables, images)["logits"]
            return {"logits": jnp.repeat(jnp.repeat(logits, 4, axis=1), 4, axis=2)}

    config = make_config("single", **{"model.name": "duc", "model.duc.cell": 2})
    segmenter = Fine(CLASSES)
    (example,) = make_examples([(40, 55)])
    evaluator = make_evaluator(segmenter, config, CLASSES)
    ((_, ids),) = evaluator.predict(segmenter.variables, [example])
    padded = canvas.pad(example["image"], 48, 64, 0)
    logits = segmenter.logits(segmenter.variables, normalise(padded)[None])
    expected = resize_bilinear(logits, 48, 64, align_corners=False)[0, :40, :55]
    assert np.mean(ids == np.argmax(np.asarray(expected), axis=-1)) > 0.999


def test_a_hundred_image_sizes_compile_few_networks():
    """One for `release`, one a canvas size for `single`."""
    sizes = mixed_sizes(100)
    counts = {}
    for protocol in ("single", "release", "centre_crop"):
        segmenter = ToySegmenter(CLASSES)
        evaluator = make_evaluator(segmenter, make_config(protocol), CLASSES)
        for _ in evaluator.predict(segmenter.variables, make_examples(sizes)):
            pass
        counts[protocol] = len(segmenter.traced)
    buckets = {canvas.sizes(h, w, 1.0, 16) for h, w in sizes}
    assert counts == {"single": len(buckets), "release": 1, "centre_crop": 1}
    assert len(buckets) <= 9


def test_small_and_large_objects_are_counted_separately():
    label = np.zeros((20, 30), np.uint8)
    label[2:5, 2:5] = 1  # 9 pixels
    label[10:18, 10:28] = 1  # 144 pixels
    label[0] = IGNORE_LABEL
    small = object_sizes.small_objects(label, 10)
    assert np.count_nonzero(small == 1) == 9 and set(np.unique(small)) == {1, 255}
    assert (object_sizes.small_objects(label, 9) == IGNORE_LABEL).all()
    segmenter = ToySegmenter(CLASSES)
    evaluator = make_evaluator(segmenter, make_config("single"), CLASSES)
    examples = [{"image": random_image(20, 30), "label": label}]
    every, small, large = evaluator.confusion_by_size(segmenter.variables, examples, 10)
    assert small.counts.sum() == 9 and small.counts[1].sum() == 9
    assert every.counts.sum() == 19 * 30
    np.testing.assert_array_equal((small + large).counts, every.counts)
    whole = evaluator.confusion(segmenter.variables, examples)
    np.testing.assert_array_equal(every.counts, whole.counts)


def test_centre_crop_takes_the_middle():
    """A wide image: the short side becomes the crop, the middle is kept."""
    label = np.repeat(np.arange(6, dtype=np.uint8), 10)[None].repeat(20, 0)
    image = label[..., None].repeat(3, -1) * 40
    cropped = centre_crop({"image": image, "label": label, "id": "a"}, 10)
    assert cropped["id"] == "a" and cropped["image"].shape == (10, 10, 3)
    expected = np.repeat([2, 3], 5)[None].repeat(10, 0)
    np.testing.assert_array_equal(cropped["label"], expected)
    inside = np.s_[:, [1, 2, 3, 6, 7, 8], 0]  # Edges between colours are mixed.
    np.testing.assert_array_equal(cropped["image"][inside], 40 * expected[inside[:2]])


@pytest.mark.parametrize(
    ("scale", "align_corners"), [(1.0, True), (0.5, True), (1.0, False)]
)
def test_canvas_maps_logits_to_native_pixels(scale, align_corners):
    """One matrix for each side equals upsample, crop, resize."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (70, 100, 3)).astype(np.uint8)
    placed = canvas.place(
        image, scale=scale, bucket=64, logits_stride=STRIDE, align_corners=align_corners
    )
    scaled = (round(70 * scale), round(100 * scale))
    assert placed.image.shape == ((128, 128, 3) if scale == 1 else (64, 64, 3))
    assert canvas.sizes(70, 100, scale, 64) == (placed.image.shape[:2], (128, 128))
    assert (
        not placed.image[scaled[0] :].any() and not placed.image[:, scaled[1] :].any()
    )
    logits = rng.standard_normal((1, *(s // 8 for s in placed.image.shape[:2]), 5))
    logits = np.float32(logits)
    x = resize_bilinear(logits, *placed.image.shape[:2], align_corners=align_corners)
    x = resize_bilinear(x[:, : scaled[0], : scaled[1]], 70, 100, align_corners)
    ids = whole_images.map_native(
        whole_images.class_ids, logits, placed.rows[None], placed.columns[None]
    )
    agreement = np.mean(
        np.asarray(ids)[0, :70, :100] == np.argmax(np.asarray(x[0]), -1)
    )
    assert agreement > 0.999


def test_floats_are_resized_like_bytes():
    image = random_image(30, 40)
    difference = canvas.resize(np.float32(image), 15, 20) - canvas.resize(image, 15, 20)
    assert (
        np.abs(difference).max() <= 1 + 1e-3
    )  # Pillow rounds bytes in both directions.


def test_groups_lose_nothing_and_mix_nothing():
    examples = [
        {"size": size, "image": np.zeros(100, np.uint8), "name": "x"}
        for size in [3, 4, 3, 5, 3, 4, 3]
    ]
    groups = list(grouping.by_key(examples, 2, lambda e: e["size"]))
    assert [[e["size"] for e in g] for g in groups] == [[3, 3], [4, 4], [3, 3], [5]]
    # More than two may not wait: the largest group goes ahead.
    groups = list(
        grouping.by_key(examples, 3, lambda e: e["size"], max_waiting_bytes=200)
    )
    sizes = [[e["size"] for e in g] for g in groups]
    assert sum(sizes, [])[:2] == [3, 3] and sorted(sum(sizes, [])) == [
        3,
        3,
        3,
        3,
        4,
        4,
        5,
    ]
    assert all(len(set(group)) == 1 for group in sizes)
    groups = list(grouping.by_similarity(examples, 2, lambda e: e["size"]))
    assert [[e["size"] for e in g] for g in groups] == [[3, 3], [3, 3], [4, 4], [5]]


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["single", "release"])
def test_host_memory_does_not_grow_with_the_number_of_images(protocol):
    segmenter = ToySegmenter(CLASSES)
    fields = {"eval.scales": (1.0,), "eval.base_size": 256, "eval.crop_size": 256}
    evaluator = make_evaluator(segmenter, make_config(protocol, **fields), CLASSES)
    resident = []
    for number in (50, 500):
        evaluator.confusion(segmenter.variables, make_examples([(256, 240)] * number))
        with open("/proc/self/statm") as file:
            resident.append(int(file.read().split()[1]))
    assert resident[1] < 1.05 * resident[0]


def test_stack_fills_up_with_zeros():
    stacked = grouping.stack([{"a": np.ones(2)}], 3)
    np.testing.assert_array_equal(stacked["a"], [[1, 1], [0, 0], [0, 0]])


@pytest.mark.parametrize("nested", [False, True])
def test_a_log_file_gets_lines_without_carriage_returns(monkeypatch, nested):
    log = io.StringIO()
    monkeypatch.setattr(sys, "stderr", log)
    monkeypatch.setattr("encnet_jax.scoring.evaluator._LOG_EVERY_S", 0)
    outer = tqdm(total=1, file=io.StringIO()) if nested else contextlib.nullcontext()
    with outer, progress_bar(12) as bar:
        for _ in range(12):
            bar.update()
    lines = log.getvalue().split("\n")
    assert lines.pop() == "" and "\r" not in log.getvalue()
    counts = [f"evaluate: {n}/12 [" for n in range(13)]
    assert [line[: len(count)] for line, count in zip(lines, counts, strict=True)] == (
        counts
    )
    assert all(line.endswith("] images") for line in lines)


def test_a_nested_progress_bar_is_removed(monkeypatch):
    def shown(around):
        terminal = io.StringIO()
        terminal.isatty = lambda: True
        monkeypatch.setattr(sys, "stderr", terminal)
        with around(terminal), progress_bar(2) as bar:
            bar.update(2)
        # Clearing a line writes spaces over it.
        return "2/2" in terminal.getvalue().rpartition(" " * 20)[2]

    assert shown(lambda terminal: contextlib.nullcontext())
    assert not shown(lambda terminal: tqdm(total=1, file=terminal))
