"""Refinement layers of the piecewise CRF: scores, loss, memory, sizes, training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from test_piecewise_crf import CLASSES, make_batch, make_config

from encnet_jax import config as config_lib
from encnet_jax import models
from encnet_jax.errors import UserError
from encnet_jax.losses.refined import refined_cross_entropy
from encnet_jax.models.backbones import feature_info
from encnet_jax.models.layers import make_layers
from encnet_jax.models.refinement import Refined, Refinement
from encnet_jax.models.resize import resize_bilinear
from encnet_jax.train.assemble import assemble

CHANNELS = 3


def rng_array(*shape):
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def refined(batch=2, low=4, side=13, classes=5):
    return Refined(
        coarse=rng_array(batch, low, low + 1, classes),
        features=rng_array(batch, side, side + 2, CHANNELS),
        kernel=rng_array(CHANNELS, classes),
        bias=rng_array(classes),
    )


def test_scores_are_upsampled_scores_plus_a_linear_map_of_the_features():
    given = refined(batch=1, low=2, side=3, classes=2)
    found = np.asarray(given.whole(True))
    assert found.shape == (1, 3, 5, 2)
    coarse = given.coarse[0]
    for y, x in np.ndindex(3, 5):
        # Corners on corners: 3 rows between 2, 5 columns between 3.
        row, column = y / 2, x / 2
        low = int(column)
        share, high = column - low, min(low + 1, 2)
        pixel = (1 - row) * ((1 - share) * coarse[0, low] + share * coarse[0, high])
        pixel += row * ((1 - share) * coarse[1, low] + share * coarse[1, high])
        for k in range(2):
            added = sum(
                given.features[0, y, x, c] * given.kernel[c, k] for c in range(CHANNELS)
            )
            expected = pixel[k] + added + given.bias[k]
            np.testing.assert_allclose(found[0, y, x, k], expected, atol=1e-5)


def test_the_joining_convolution_is_that_of_the_concatenated_features():
    layers = make_layers()
    module = Refinement(CLASSES, CHANNELS, layers)
    log_q = jax.nn.log_softmax(rng_array(1, 3, 3, CLASSES))
    stages = {f"f{i}": rng_array(1, 24 // 2**i, 24 // 2**i, i + 1) for i in range(3)}
    image = rng_array(1, 24, 24, 3)
    variables = jax.jit(module.init)(jax.random.key(0), log_q, stages, image)
    params, stats = variables["params"], variables["batch_stats"]
    inputs = {"coarse": jnp.exp(log_q), **stages, "image": image}

    def unit(name, x):
        parts = {"params": params[name], "batch_stats": stats[name]}
        return layers.unit(CHANNELS, name="unit").apply(parts, x)

    branches = [
        resize_bilinear(unit(name, x), 24, 24, True) for name, x in inputs.items()
    ]
    kernel = jnp.concatenate(
        [params[f"{name}_join"]["kernel"][0, 0] for name in inputs], axis=0
    )
    joined = jnp.einsum("bhwc,cd->bhwd", jnp.concatenate(branches, -1), kernel)
    # Fresh batch norms divide by sqrt(1 + epsilon).
    expected = unit("last", jax.nn.relu(joined / (1 + 1e-5) ** 0.5))
    found = jax.jit(module.apply)(variables, log_q, stages, image)
    np.testing.assert_allclose(found.features, expected, atol=1e-5)
    mixed = 0.9 * np.exp(log_q, dtype=np.float64) + 0.1 / CLASSES
    np.testing.assert_allclose(found.coarse, np.log(mixed), rtol=1e-5)


def test_a_certain_coarse_class_can_be_corrected():
    """A marginal of 1 leads by log(0.9 * K / 0.1 + 1), not by an unbounded number."""
    log_q = jnp.asarray([[[[0.0, *(CLASSES - 1) * [-1e4]]]]])
    module = Refinement(CLASSES, CHANNELS, make_layers())
    images = jnp.zeros((1, 4, 4, 3))
    found, _ = jax.jit(module.init_with_output)(jax.random.key(0), log_q, {}, images)
    lead = found.coarse[0, 0, 0, 0] - found.coarse[0, 0, 0, 1]
    assert lead == pytest.approx(np.log(0.9 * CLASSES / 0.1 + 1), rel=1e-5)


@pytest.mark.parametrize("align_corners", [True, False])
def test_the_loss_is_the_cross_entropy_of_the_whole_scores(align_corners):
    given = refined()
    labels = np.random.default_rng(1).integers(0, 5, (2, 13, 15)).astype(np.uint8)
    labels[0, :4] = 255

    def whole(given):
        log_p = jax.nn.log_softmax(given.whole(align_corners))
        picked = jnp.take_along_axis(log_p, jnp.minimum(labels, 4)[..., None], -1)
        return -jnp.sum(jnp.where(labels[..., None] == 255, 0, picked))

    def in_blocks(given):
        return refined_cross_entropy(
            given, jnp.asarray(labels), align_corners=align_corners, row_blocks=5
        )

    given = jax.tree.map(jnp.asarray, given)
    expected, wanted = jax.jit(jax.value_and_grad(whole))(given)
    found, gradient = jax.jit(jax.value_and_grad(in_blocks))(given)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    for ours, theirs in zip(gradient, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    labels[:] = 255
    found, gradient = jax.value_and_grad(in_blocks)(given)
    assert found == 0 and all(not np.any(x) for x in gradient)


def test_the_loss_never_stores_all_scores():
    """Neither in value nor in gradient: 150 classes, 96x96 pixels, 4 images."""
    shapes = Refined(
        coarse=jax.ShapeDtypeStruct((4, 8, 8, 150), jnp.float32),
        features=jax.ShapeDtypeStruct((4, 96, 96, CHANNELS), jnp.float32),
        kernel=jax.ShapeDtypeStruct((CHANNELS, 150), jnp.float32),
        bias=jax.ShapeDtypeStruct((150,), jnp.float32),
    )
    labels = jax.ShapeDtypeStruct((4, 96, 96), jnp.uint8)

    def loss(scores, labels):
        return refined_cross_entropy(scores, labels, align_corners=True, row_blocks=24)

    compiled = jax.jit(jax.value_and_grad(loss)).lower(shapes, labels).compile()
    scores = 4 * 96 * 96 * 150 * 4  # Bytes of float32.
    assert compiled.memory_analysis().temp_size_in_bytes < scores / 2


@pytest.mark.parametrize(
    ("backbone", "names"),
    [
        ("tiny", ("stage1", "stage2", "stage3", "stage4")),
        ("convnext_tiny", ("stage1", "stage2", "stage3", "stage4")),
        ("vgg16", ("block1", "block2", "stage1", "stage2", "stage3")),
    ],
)
def test_every_backbone_is_refined(backbone, names):
    """Shapes, and the number of parameters."""
    fields = {"model.crf.refine": CHANNELS, "model.backbone": backbone}
    m = make_config(**fields).model
    assert models.logits_stride(m) == 1
    images = jnp.zeros((1, 48, 57, 3))
    model = models.build(m, CLASSES)
    variables, outputs = jax.eval_shape(
        lambda: (
            v := model.init(jax.random.key(0), images),
            model.apply(v, images),
        )
    )
    assert outputs["logits"].shape == (1, 48, 57, CLASSES)
    params = variables["params"]["refinement"]
    assert {n for n in params if n.startswith(("stage", "block"))} == {
        f"{name}{end}" for name in names for end in ("", "_join")
    }
    inputs = [feature_info(m)[name].channels for name in names] + [CLASSES, 3]
    # 3x3, scale and offset, 1x1 for each; the last 3x3 and two norms; the classifier.
    expected = sum(9 * n * CHANNELS + 2 * CHANNELS + CHANNELS**2 for n in inputs)
    expected += 9 * CHANNELS**2 + 4 * CHANNELS + (CHANNELS + 1) * CLASSES
    assert sum(x.size for x in jax.tree.leaves(params)) == expected


def moved(after, before):
    """Returns the paths of the arrays that a step changed."""
    pairs = [traverse_util.flatten_dict(x, sep="/") for x in (after, before)]
    return {path for path, x in pairs[0].items() if np.any(x != pairs[1][path])}


def step(**fields):
    config = make_config(
        **{"model.crf.features": "pyramid", "model.crf.refine": CHANNELS}, **fields
    )
    parts = assemble(config, CLASSES, axis_name=None)
    after, metrics = jax.jit(parts.step)(parts.state, make_batch())
    return parts.state, after, metrics


def test_refinement_is_trained_with_the_network():
    before, after, metrics = step(**{"loss.unary_weight": 0, "loss.pairwise_weight": 0})
    assert metrics.keys() & {"loss_unary", "loss_surrounding"} == set()
    np.testing.assert_allclose(metrics["loss"], metrics["loss_refined"])
    # Close to a uniform prediction at first.
    np.testing.assert_allclose(metrics["loss"], np.log(CLASSES), rtol=0.1)
    changed = moved(after.params, before.params)
    refinement = traverse_util.flatten_dict(before.params["refinement"], sep="/")
    assert {f"refinement/{n}" for n in refinement} <= changed
    assert "backbone/stem/layer1/conv/kernel" in changed
    # Weight decay aside, the potentials are trained by their own terms.
    assert "head/surrounding/bias" not in changed


def test_only_the_refinement_layers_are_trained():
    """Neither weights nor statistics of the rest change."""
    fields = {"train.freeze": "coarse", "optim.weight_decay": 1e-4}
    before, after, metrics = step(**fields)
    assert metrics["loss_refined"] > 0
    for name in ("params", "batch_stats"):
        changed = moved(getattr(after, name), getattr(before, name))
        assert {path.split("/")[0] for path in changed} == {"refinement"}, name
    config = config_lib.load("configs/camvid.py:piecewise_crf,refine_only,smoke")
    config.init_from = "runs/coarse"
    config = config_lib.resolve(config, config_lib.Facts(8))
    assert config.optim.frozen == ("backbone", "head")
    assert (config.init_skip, config.model.crf.refine) == ("refinement", 16)


@pytest.mark.parametrize(
    ("words", "fields"),
    [("piecewise_crf", {}), ("fcn", {"model.crf.refine": 16})],
)
def test_only_a_refined_crf_can_be_frozen_as_coarse(words, fields):
    config = config_lib.load(f"configs/camvid.py:{words},smoke")
    config.update_from_flattened_dict(fields | {"train.freeze": "coarse"})
    with pytest.raises(UserError, match="train.freeze is 'coarse'.*refine above 0"):
        config_lib.resolve(config, config_lib.Facts(8))
