"""The piecewise CRF as a network: sizes, training on devices, weights, bad input."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from encnet_jax import config as config_lib
from encnet_jax import models, tasks
from encnet_jax.crf import mean_field, potentials
from encnet_jax.errors import UserError
from encnet_jax.models.heads import piecewise_crf
from encnet_jax.scoring.protocols import canvas
from encnet_jax.torch_weights import families
from encnet_jax.torch_weights.names import table
from encnet_jax.train.assemble import assemble

CLASSES = 4


def make_config(**fields):
    config = config_lib.load("configs/camvid.py:piecewise_crf,smoke")
    config.model.head_channels = config.model.crf.hidden_channels = 8
    config.model.stem_width = 4
    config.model.dropout = 0.0
    config.data.crop_size = 48
    config.update_from_flattened_dict(fields)
    return config_lib.resolve(config, config_lib.Facts(8))


def make_batch(num_images=2, size=48):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, (num_images, size, size)).astype(np.uint8)
    labels[0, :20] = 255
    images = rng.integers(0, 256, (num_images, size, size, 3)).astype(np.uint8)
    return {"image": images, "label": labels}


@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize("features", piecewise_crf.FEATURES)
def test_logits_have_the_sides_that_protocols_expect(features, output_stride):
    config = make_config(
        **{"model.crf.features": features, "model.output_stride": output_stride}
    )
    scale = piecewise_crf.FEATURES[features][0][0]
    stride = models.logits_stride(config.model)
    for side in range(40, 700):
        scaled = piecewise_crf.scaled_side(side, scale)
        assert scaled - 1 < side * scale + 1e-6 <= scaled + 2e-6
        nodes = -(-scaled // output_stride)
        assert canvas.logits_side(side, stride) == nodes


@pytest.mark.parametrize("size", [48, 75])
def test_shapes_of_the_network(size):
    config = make_config()
    model = models.build(config.model, CLASSES)
    images = jnp.zeros((2, size, size, 3))
    variables, outputs = jax.eval_shape(
        lambda: (
            v := model.init(jax.random.key(0), images, train=False),
            model.apply(v, images, train=False),
        )
    )
    nodes = canvas.logits_side(size, models.logits_stride(config.model))
    assert outputs.keys() == {"logits"}
    assert outputs["logits"].shape == (2, nodes, nodes, CLASSES)
    assert outputs["logits"].dtype == jnp.float32
    names = traverse_util.flatten_dict(variables["params"], sep="/")
    # Three scales with three maps each, 8 channels.
    assert names["head/surrounding/p/kernel"].shape == (3 * 3 * 8, 8)
    assert names["head/above_below/kernel"].shape == (8, CLASSES**2)
    last = {n.split("/")[1] for n in names if "stage4" in n}
    assert last == {f"{scale}stage4_block01" for scale in ("", "scale2_", "scale3_")}
    assert sum("stage3_block01/conv1" in n for n in names) == 1


def loss_and_gradients(config, state, batch, axis_name=None):
    """One training step's metrics and the parameters after it."""
    parts = assemble(config, CLASSES, axis_name=axis_name, only_shapes=True)
    return parts.step(state, batch, axis_name=axis_name)


def test_a_step_on_two_devices_equals_one():
    """Counts of labelled nodes and pairs, and batch norms, are those of all devices."""
    config = make_config(**{"model.crf.features": "pyramid", "optim.base_lr": 1.0})
    state = assemble(config, CLASSES).state
    batch = make_batch()
    alone, expected = jax.jit(partial(loss_and_gradients, config))(state, batch)
    spread = jax.tree.map(lambda x: x[:, None], batch)
    both, metrics = jax.pmap(
        partial(loss_and_gradients, config, axis_name="batch"),
        axis_name="batch",
        in_axes=(None, 0),
        out_axes=None,
        devices=jax.devices()[:2],
    )(state, spread)
    terms = {"loss_unary", "loss_surrounding", "loss_above_below"}
    assert terms <= expected.keys()
    total = sum(float(expected[name]) for name in terms)
    np.testing.assert_allclose(expected["loss"], total, rtol=1e-5)
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=2e-4, err_msg=name)
    moved = traverse_util.flatten_dict(
        jax.tree.map(lambda a, b: jnp.abs(a - b).max(), alone.params, state.params)
    )
    # Two devices move every parameter, and as far as one does.
    for (path, far), theirs, ours in zip(
        moved.items(),
        traverse_util.flatten_dict(alone.params).values(),
        traverse_util.flatten_dict(both.params).values(),
        strict=True,
    ):
        assert far > 0, path
        np.testing.assert_allclose(ours, theirs, rtol=5e-3, atol=2e-4)


def test_evaluation_returns_mean_field_marginals():
    """Of the very potentials that training sees; batch norms are frozen for it."""
    fields = {"model.crf.features": "plain", "model.frozen_norm": True}
    m = make_config(**fields).model
    model = models.build(m, CLASSES)
    images = jnp.asarray(np.random.default_rng(0).normal(size=(1, 80, 64, 3)), "f4")

    @jax.jit
    def both():
        variables = model.init(jax.random.key(1), images)
        # Fresh scores of pairs are nearly 0, and so of no effect.
        for relation in potentials.RELATIONS:
            net = variables["params"]["head"][relation]
            net["kernel"] = 100 * net["kernel"]
        outputs, _ = model.apply(variables, images, True, mutable=["batch_stats"])
        pairs = [
            potentials.relation_pairs(name, net, m.crf.box, m.crf.max_score_mib)
            for name, net in outputs["pairwise"].items()
        ]
        expected = mean_field.log_marginals(outputs["logits"], pairs, 3)
        unary = jax.nn.log_softmax(outputs["logits"])
        return model.apply(variables, images)["logits"], expected, unary

    ours, expected, unary = both()
    np.testing.assert_allclose(ours, expected, atol=1e-4)
    np.testing.assert_allclose(jnp.exp(ours).sum(-1), 1, atol=1e-5)
    assert jnp.abs(ours - unary).max() > 0.01


def test_every_scale_starts_from_the_same_last_stage():
    """PyTorch's layer4 is copied to the last stage of all three scales."""
    config = make_config(**{"model.backbone": "resnet18", "model.stem": "conv7"})
    variables = jax.eval_shape(
        lambda: models.build(config.model, CLASSES).init(
            jax.random.key(0), jnp.zeros((1, 48, 48, 3))
        )
    )
    family = dataclasses.replace(families.find("torchvision"), parts=("backbone",))
    entries = table(variables, family, config.model)
    paths = {}
    for entry in entries:
        paths.setdefault(entry.name, set()).add(entry.path[2])
    blocks = {f"{scale}stage4_block02" for scale in ("", "scale2_", "scale3_")}
    assert paths["layer4.1.conv2.weight"] == blocks
    assert paths["layer3.1.conv2.weight"] == {"stage3_block02"}


def outputs_of(config, height, width):
    model = models.build(config.model, CLASSES)
    images = jnp.zeros((1, height, width, 3))
    return jax.eval_shape(lambda: model.init(jax.random.key(0), images))


def test_an_image_too_small_for_the_smallest_scale_is_refused():
    outputs_of(make_config(), 40, 90)
    with pytest.raises(UserError) as error:
        outputs_of(make_config(), 39, 90)
    assert "39x90" in str(error.value)
    assert "expected a height and width of at least 40 pixels" in str(error.value)
    outputs_of(make_config(**{"model.crf.features": "pyramid"}), 39, 90)


def test_pairwise_scores_above_the_memory_limit_are_refused():
    row = 4 * 6 * CLASSES**2 / 2**20  # Of ceil(75 * 1.2 / 16) nodes, in MiB.
    outputs_of(make_config(**{"model.crf.max_score_mib": row}), 75, 75)
    with pytest.raises(UserError, match="at most .* raise model.crf.max_score_mib"):
        outputs_of(make_config(**{"model.crf.max_score_mib": 0.9 * row}), 75, 75)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("model.crf.features", "scale", "expected one of: plain, pyramid, scales"),
        ("model.crf.pairwise", "above", "none, surrounding, above_below, both"),
        ("model.crf.box", 0.0, "more than 0, at most 1"),
        ("model.crf.num_updates", -1, "expected 0 to 1000"),
        ("loss.pairwise_weight", -0.1, "expected 0 to"),
        ("model.aux", "fcn", "has no auxiliary head"),
        ("eval.dense.radius", 0, "expected 1 to"),
        ("eval.refine", "sparse", "expected one of: none, dense"),
    ],
)
def test_fields_out_of_range(field, value, words):
    with pytest.raises(UserError, match=words):
        make_config(**{field: value})


def test_reports_describe_the_model():
    config = make_config()
    assert tasks.of(config).description.startswith("piecewise_crf-tiny")
