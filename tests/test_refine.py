"""Dense refinement of scores: evaluation, reports, and the search."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_evaluator import CLASSES, make_config, make_examples
from toy_segmenter import ToySegmenter, make_evaluator

from encnet_jax import config as config_lib
from encnet_jax.crf import dense
from encnet_jax.data.sets import named_info
from encnet_jax.errors import UserError
from encnet_jax.evaluate import search as refine
from encnet_jax.evaluate import tables
from encnet_jax.evaluate.refine import refine_fields
from encnet_jax.scoring.metrics import ConfusionMatrix
from encnet_jax.scoring.protocols import dense_refined
from encnet_jax.tasks import network

DENSE = {"eval.dense.radius": 2, "eval.dense.iterations": 2}
SIZES = [(24, 30), (20, 32)]  # Of one canvas, 32x32.


def refined_config(protocol, **fields):
    return make_config(protocol, **{"eval.refine": "dense", **DENSE, **fields})


@pytest.mark.parametrize("protocol", ["single", "release"])
def test_labels_are_those_of_refined_scores(protocol):
    """Two devices equal single images without a canvas."""
    segmenter, devices = ToySegmenter(CLASSES), jax.local_devices()[:2]
    config = refined_config(protocol)
    evaluator = make_evaluator(segmenter, config, CLASSES, devices)
    params = dense_refined.params_of(config.eval.dense)
    single = jax.jit(dense.refine, static_argnames="radius")
    scores = {}
    for members, total, _ in evaluator.scores(
        segmenter.variables, make_examples(SIZES)
    ):
        for member, each in zip(members, np.asarray(total), strict=False):
            height, width = member["image"].shape[:2]
            scores[member["id"]] = each[:height, :width]
    changed = 0
    for example, ids in evaluator.predict(segmenter.variables, make_examples(SIZES)):
        own = scores[example["id"]]
        p = own / own.sum(-1, keepdims=True)
        q = single(p, example["image"], params, radius=2, iterations=2)
        assert np.mean(ids == np.asarray(q).argmax(-1)) > 0.999
        changed += np.sum(ids != own.argmax(-1))
    assert len(scores) == 2 and changed > 10


def test_a_window_larger_than_an_image_is_refused():
    segmenter = ToySegmenter(CLASSES)
    config = refined_config("single", **{"eval.dense.radius": 12})
    evaluator = make_evaluator(segmenter, config, CLASSES, jax.local_devices()[:1])
    with pytest.raises(UserError) as error:
        evaluator.confusion(segmenter.variables, make_examples([(24, 40)]))
    message = str(error.value)
    assert "image 0 has 24x40 pixels; expected at least 25x25 for eval" in message
    assert "set eval.dense.radius to 11 or less" in message
    with pytest.raises(UserError, match="2x40 pixels.* remove it$"):
        evaluator.confusion(segmenter.variables, make_examples([(2, 40)]))


def test_reports_state_the_refinement():
    matrix = ConfusionMatrix.from_counts(np.diag([4, 6]))
    info = dataclasses.replace(named_info("scenes"), class_names=("a", "b"))
    refined = network.build({"params": {}}, refined_config("single"), 3)._replace(
        info=info
    )
    report = tables.make_report(matrix, refined, split="val", num_images=1)
    assert report["val/single-dense/mean_iou"] == 1
    protocol = report["protocol"]
    assert protocol["name"] == "single-dense" and protocol["dense.radius"] == 2
    assert protocol["dense.bilateral_px"] == 20 and protocol["bucket"] == 16
    name = tables.report_name("val", protocol["name"])
    assert name == "report-val-single-dense.json"
    plain = make_config("single")
    assert tables.protocol_name("single", plain.eval.refine) == "single"


def test_the_search_keeps_changes_that_score_higher():
    start = dense.DenseParams(4.0, 20.0, 10.0, 3.0, 3.0)
    aim = start._replace(bilateral_levels=40.0, spatial_weight=1.5)
    tried = []

    def score(params):
        return -sum(abs(np.log2(a / b)) for a, b in zip(params, aim, strict=True))

    best, value = refine.search(score, start, 3, lambda p, v: tried.append((p, v)))
    assert best == aim and value == 0
    assert max(v for _, v in tried) == value and tried[0][0] == start
    once, _ = refine.search(score, start, 1)
    assert once.bilateral_levels == 20.0 and once.spatial_weight == 1.5


def test_the_search_refuses_the_scored_images():
    config = config_lib.load("configs/quickstart.py:smoke")
    config.data.train_split = config.data.val_split
    loaded = network.build(
        {"params": {}}, config_lib.resolve(config, config_lib.Facts(8)), 0
    )
    with pytest.raises(UserError, match="tuned on the images that are scored"):
        refine.TrainingScores(loaded, 2)


def test_the_search_refines_as_evaluation_does():
    """The mean IoU of the stored scores equals that of the evaluator."""
    segmenter, devices = ToySegmenter(CLASSES), jax.local_devices()[:1]
    config = refined_config("single")
    evaluator = make_evaluator(segmenter, config, CLASSES, devices)

    few = list(make_examples([(24, 30), (20, 32)]))

    class FewExamples:
        def spread_examples(self, split, number):
            assert (split, number) == (config.data.train_split, 2)
            return few

        def spread_sizes(self, split, number):
            return SIZES

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(refine.tasks, "open_dataset", lambda config: FewExamples())
        patch.setattr(network.Network, "evaluator", lambda self, sizes: evaluator)
        loaded = network.build(segmenter.variables, config, 0)
        images = refine.TrainingScores(loaded, 2)
    params = dense_refined.params_of(config.eval.dense)
    matrix = evaluator.confusion(segmenter.variables, few)
    np.testing.assert_allclose(images.mean_iou(params), matrix.mean_iou(), atol=2e-3)
    assert images.mean_iou(None) != images.mean_iou(params)


def test_values_of_the_refine_flag(tmp_path):
    assert refine_fields(None) == {}
    assert refine_fields("none") == {"eval.refine": "none"}
    found = {"radius": 3, "iterations": 4, **dense.DenseParams(1, 2, 3, 4, 5)._asdict()}
    path = tmp_path / "refine.json"
    path.write_text(json.dumps(found))
    fields = refine_fields(str(path))
    assert fields["eval.refine"] == "dense" and fields["eval.dense.radius"] == 3
    assert fields["eval.dense.spatial_px"] == 5 and len(fields) == 8
    path.write_text(json.dumps(found | {"colour": 1}))
    with pytest.raises(UserError, match="does not have exactly the keys"):
        refine_fields(str(path))
    for value in (None, "3", 10**400):
        path.write_text(json.dumps(found | {"radius": value}))
        with pytest.raises(UserError, match="is damaged: radius is .* a number"):
            refine_fields(str(path))
    with pytest.raises(UserError, match="expected one of: none, dense, or a file"):
        refine_fields("dens")


def test_refining_zeros_gives_no_nan():
    """A device without an image refines zeros."""
    zeros = jnp.zeros((8, 8, 3))
    params = dense.DenseParams(4.0, 20.0, 10.0, 3.0, 3.0)
    valid = jnp.zeros((8, 8), bool)
    refined = jax.jit(dense.refine, static_argnames="radius")(
        zeros,
        jnp.zeros((8, 8, 3), jnp.uint8),
        params,
        radius=2,
        iterations=2,
        valid=valid,
    )
    assert np.all(np.isfinite(refined))
