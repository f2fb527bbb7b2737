"""Backbones and whole networks: shapes, strides, gradients, every named field."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from encnet_jax import config as config_lib
from encnet_jax import models
from encnet_jax.config import defaults, recipes
from encnet_jax.errors import UserError
from encnet_jax.models.backbones.resnet import BackboneSpec, ResNet
from encnet_jax.models.layers import make_layers
from encnet_jax.models.norm import STATISTICS_NAME

SMALL = {
    "basic": BackboneSpec((1, 2, 2, 2), False, 4),
    "bottleneck": BackboneSpec((1, 2, 2, 2), True, 4),
}


def tiny_model_config(**fields):
    config = defaults.get_config()
    recipes.tiny(config)
    config.model.head_channels, config.model.aux_channels = 16, 8
    config.architecture = fields.pop("architecture", "paper")
    config.model.update(fields)
    return config_lib.resolve(config).model


@pytest.mark.parametrize("kind", SMALL)
def test_dilation_keeps_what_striding_computes(kind):
    """Stride 8, subsampled, equals strides 16 and 32 with the same weights."""
    images = jnp.asarray(
        np.random.default_rng(0).normal(size=(1, 64, 96, 3)), jnp.float32
    )

    def network(stride):
        return ResNet(SMALL[kind], make_layers(), stem_width=4, output_stride=stride)

    variables = jax.jit(network(8).init)(jax.random.key(0), images)
    stages = {s: jax.jit(network(s).apply)(variables, images) for s in (8, 16, 32)}
    assert stages[8]["stage4"].shape[1:3] == (8, 12)
    for stride in (16, 32):
        for stage in ("stage3", "stage4"):
            reference = stages[stride][stage]
            step = stages[8][stage].shape[1] // reference.shape[1]
            assert step == (2 if stride == 16 or stage == "stage3" else 4)
            np.testing.assert_allclose(
                stages[8][stage][:, ::step, ::step], reference, rtol=1e-4, atol=1e-4
            )


def test_dilation_rates():
    """Stage 3 has rate 2, stage 4 rate 4, and each first block half of that."""
    images = jnp.zeros((1, 32, 32, 3))
    rates = {}
    for stride in (8, 16, 32):
        network = ResNet(
            SMALL["bottleneck"], make_layers(), stem_width=4, output_stride=stride
        )
        # Lowered for the CPU, where 1x1 convolutions are products.
        program = jax.jit(lambda key, n=network: n.init_with_output(key, images))
        text = program.lower(jax.random.key(0)).as_text()
        rates[stride] = [int(r) for r in re.findall(r"rhs_dilate = \[(\d+),", text)]
    # Stem of three, then the 3x3 convolution of each of 1 + 2 + 2 + 2 blocks.
    assert rates[8] == [1] * 6 + [1, 2, 2, 4]
    assert rates[16] == [1] * 8 + [1, 2]
    assert rates[32] == [1] * 10


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "encnet"},
        {"name": "encnet", "architecture": "release", "lateral": True},
        {"name": "encnet", "num_codes": 0, "stem": "conv7"},
        {"name": "fcn", "architecture": "mmseg"},
        # Their forward outputs are compared with the reference in the fast suite.
        pytest.param(
            {"name": "pspnet", "align_corners": False}, marks=pytest.mark.slow
        ),
        pytest.param(
            {"name": "deeplabv3", "output_stride": 16, "avg_down": True},
            marks=pytest.mark.slow,
        ),
    ],
    ids=lambda fields: "-".join(map(str, fields.values())),
)
def test_every_parameter_gets_a_gradient(fields):
    model = models.build(tiny_model_config(dropout=0.0, **fields), num_classes=5)
    images = jnp.asarray(
        np.random.default_rng(1).normal(size=(2, 49, 57, 3)), jnp.float32
    )
    variables = jax.jit(lambda k: model.init(k, images, train=False))(jax.random.key(0))

    def loss(params):
        outputs, _ = model.apply(
            {**variables, "params": params},
            images,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(2)},
        )
        keys = jax.random.split(jax.random.key(1), len(outputs))
        return sum(
            jnp.sum(outputs[name] * jax.random.normal(key, outputs[name].shape))
            for name, key in zip(sorted(outputs), keys, strict=True)
        )

    grads = jax.jit(jax.grad(loss))(variables["params"])
    for path, grad in jax.tree_util.tree_leaves_with_path(grads):
        assert np.isfinite(grad).all() and np.abs(grad).max() > 0, path


def test_outputs_are_named_and_absent_heads_absent():
    images = jnp.zeros((2, 33, 41, 3))

    def shapes(**fields):
        model = models.build(tiny_model_config(**fields), num_classes=5)
        outputs, _ = jax.eval_shape(
            lambda k: model.init_with_output(k, images, train=False), jax.random.key(0)
        )
        return {name: x.shape for name, x in outputs.items()}

    logits = {"logits": (2, 5, 6, 5)}
    presence = {"se_logits": (2, 5), "aux_se_logits": (2, 5)}
    assert shapes(name="encnet") == logits | presence
    assert shapes(name="encnet", se_loss=False) == logits
    assert shapes(name="fcn", aux="none") == logits
    released = shapes(name="encnet", architecture="release")
    assert released == logits | {"se_logits": (2, 5), "aux_logits": (2, 5, 6, 5)}
    assert shapes(name="encnet", output_stride=32)["logits"] == (2, 2, 2, 5)


def test_rematerialisation_changes_nothing_but_memory():
    images = jnp.asarray(
        np.random.default_rng(1).normal(size=(2, 33, 33, 3)), jnp.float32
    )
    results = []
    for remat in (False, True):
        model = models.build(tiny_model_config(remat=remat, dropout=0.0), 5)
        variables = jax.jit(lambda k, m=model: m.init(k, images, train=False))(
            jax.random.key(0)
        )

        def loss(params, m=model, v=variables):
            outputs, updates = m.apply(
                {**v, "params": params}, images, train=True, mutable=["batch_stats"]
            )
            return jnp.sum(outputs["logits"] ** 2), updates

        results.append(jax.jit(jax.grad(loss, has_aux=True))(variables["params"]))
    for a, b in zip(*map(jax.tree.leaves, results), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_rematerialisation_keeps_statistics_and_the_dearest_convolutions(capsys):
    backbone = ResNet(
        BackboneSpec((1, 2, 7, 1), bottleneck=True, width=4),
        layers=make_layers(train=True),
        stem_width=4,
        remat=True,
    )
    images = jnp.zeros((1, 33, 33, 3))
    variables = jax.eval_shape(backbone.init, jax.random.key(0), images)

    def loss(params, batch_stats):
        stages, _ = backbone.apply(
            {"params": params, "batch_stats": batch_stats},
            images,
            mutable=["batch_stats"],
        )
        return jnp.sum(stages["stage4"])

    jax.ad_checkpoint.print_saved_residuals(
        loss, variables["params"], variables["batch_stats"]
    )
    lines = capsys.readouterr().out.splitlines()
    kept = [line.split("'")[1] for line in lines if " named '" in line]
    of_blocks = {"stage2": (2, 2), "stage3": (7, 3), "stage4": (1, 3)}
    expected = ["layer1/conv", "layer3/conv"] + [
        f"{stage}_block{block:02d}/conv{i}"
        for stage, (blocks, convolutions) in of_blocks.items()
        for block in range(1, blocks + 1)
        for i in range(1, convolutions + 1)
    ]
    assert sorted(name for name in kept if name != STATISTICS_NAME) == sorted(expected)
    norms = 3 + 3 * 11 + 4  # Of the stem, of blocks, of shortcuts.
    assert kept.count(STATISTICS_NAME) == norms
    # Of blocks, the outputs of stages 1 to 3, and of the sixth of seven in a row.
    assert sum("(Block.__call__)" in line for line in lines if "named" not in line) == 4


def test_bfloat16_computes_in_bfloat16_and_returns_float32():
    model = models.build(tiny_model_config(dtype="bfloat16"), 5)
    images = jnp.zeros((1, 32, 32, 3))
    variables = jax.jit(lambda k: model.init(k, images, train=False))(jax.random.key(0))
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    apply = jax.jit(lambda v, x: model.apply(v, x, train=False))
    outputs = apply(variables, images)
    assert outputs["logits"].dtype == outputs["se_logits"].dtype == jnp.float32
    assert "bf16" in apply.lower(variables, images).as_text()


def test_an_unknown_backbone_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match="resnet51.*expected one of.*resnet50"):
        tiny_model_config(backbone="resnet51")
