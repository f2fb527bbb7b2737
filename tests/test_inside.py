"""Padding around an image changes nothing of what a network says about it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference_models import add_resnet
from toy_segmenter import make_evaluator

import encnet_jax
from encnet_jax import config as config_lib
from encnet_jax import models
from encnet_jax.data.sets import scenes
from encnet_jax.models import inside
from encnet_jax.models.backbones.resnet import BackboneSpec
from encnet_jax.models.encoding import encode
from encnet_jax.models.norm import SyncBatchNorm
from encnet_jax.train import loop


def test_positions_follow_the_stride():
    covered = inside.of_sizes(jnp.array([[17, 8], [32, 33]]), 40, 40)
    cells = covered.positions(5, 5)
    # 17 rows have cells at 0, 8 and 16; 8 columns one; 33 columns five.
    assert cells[0].sum(0).tolist() == [3, 0, 0, 0, 0]
    assert cells[1].sum(1).tolist() == [5, 5, 5, 5, 0]
    assert covered.positions(40, 40)[0].sum() == 17 * 8


def test_positions_outside_are_left_out_of_the_codes():
    rng = np.random.default_rng(0)
    features = jnp.asarray(rng.normal(size=(1, 6, 3)), jnp.float32)
    codewords = jnp.asarray(rng.normal(size=(2, 3)), jnp.float32)
    smoothing = jnp.array([0.5, 0.7])
    weights = jnp.array([[1, 1, 0, 1, 0, 1]], jnp.float32)
    expected = encode(features[:, [0, 1, 3, 5]], codewords, smoothing)
    found = encode(features, codewords, smoothing, weights)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def network(name, **fields):
    config = config_lib.load(f"configs/quickstart.py:smoke,{name}")
    config.update_from_flattened_dict({"data.crop_size": 64, **fields})
    config = config_lib.resolve(config)
    model = models.build(config.model, 5)
    images = np.random.default_rng(2).normal(size=(4, 64, 64, 3)).astype(np.float32)

    @jax.jit
    def initialised(key):
        variables = model.init(key, images)
        _, updates = model.apply(
            variables, images, True, mutable=["batch_stats"], rngs={"dropout": key}
        )
        # Statistics of this batch: a step of the moving average, from it taken back.
        stats = jax.tree.map(
            lambda new, old: old + (new - old) / (1 - SyncBatchNorm.momentum),
            updates["batch_stats"],
            variables["batch_stats"],
        )
        return {**variables, "batch_stats": stats}

    return config, model, initialised(jax.random.key(1))


@pytest.mark.parametrize(
    "name, backbone",
    [(name, "tiny") for name in ("encnet", "fcn", "deeplabv3", "pspnet")]
    + [("encnet", "bottlenecks")],
)
def test_padding_does_not_change_the_logits_of_an_image(name, backbone, monkeypatch):
    spec = BackboneSpec((1, 2, 2, 1), bottleneck=True, width=16)
    add_resnet(monkeypatch, "bottlenecks", spec)
    fields = {"model.backbone": backbone, "model.avg_down": backbone == "bottlenecks"}
    _, model, variables = network(name, **fields)
    image = np.random.default_rng(0).normal(size=(1, 45, 52, 3)).astype(np.float32)
    alone = jax.jit(model.apply)(variables, image)["logits"]
    canvas = np.full((1, 96, 128, 3), -2.0, np.float32)
    canvas[:, :45, :52] = image
    covered = inside.of_sizes(jnp.array([[45, 52]]), 96, 128)
    apply = jax.jit(lambda v, x, c: model.apply(v, x, False, c)["logits"])
    rows, columns = alone.shape[1:3]
    found = apply(variables, canvas, covered)[:, :rows, :columns]
    np.testing.assert_allclose(found, alone, rtol=1e-3, atol=1e-4)
    unmasked = jax.jit(model.apply)(variables, canvas)["logits"][:, :rows, :columns]
    assert np.abs(unmasked - alone).max() > 1e-2 * np.abs(alone).max()


def test_codes_do_not_grow_with_the_image():
    """An image four times over has the same codes, if they are scaled to a crop's."""
    _, model, variables = network("encnet")
    _, plain, _ = network("encnet", **{"model.reference_positions": 0})
    image = np.random.default_rng(5).normal(size=(1, 64, 64, 3)).astype(np.float32)

    def presence(network, x):
        return np.asarray(network.apply(variables, x)["se_logits"])

    np.testing.assert_array_equal(presence(model, image), presence(plain, image))
    large = np.tile(image, (1, 4, 4, 1))
    grown = np.abs(presence(plain, large) - presence(plain, image)).max()
    kept = np.abs(presence(model, large) - presence(model, image)).max()
    assert kept < 0.2 * grown


@pytest.mark.parametrize("protocol", ["single", "multiscale", "release"])
def test_labels_do_not_depend_on_the_bucket(protocol):
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (70, 53, 3)).astype(np.uint8)
    found = []
    for bucket in (64, 192):
        fields = {"eval.bucket": bucket, "eval.protocol": protocol}
        fields |= {"eval.scales": (0.75, 1.0), "eval.base_size": 70}
        config, model, variables = network("encnet", **fields)
        evaluator = make_evaluator(model, config, 5, jax.local_devices()[:1])
        example = {"image": image, "id": "a"}
        ((_, labels),) = evaluator.predict(variables, [example])
        found.append(labels)
    assert found[0].shape == (70, 53)
    assert np.mean(found[0] == found[1]) > 0.999


@pytest.mark.slow
def test_labels_of_a_trained_network_do_not_depend_on_the_canvas(tmp_path):
    """An image of 192 pixels alone, and with 64 and 192 pixels beside it."""
    config = config_lib.load("configs/quickstart.py")
    shorter = {"train.total_steps": 60, "train.eval_every_epochs": 0.0}
    config.update_from_flattened_dict({**shorter, "train.max_minutes": 0.0})
    loop.train(config, str(tmp_path / "run"))
    images = [scenes.generate("val", index)[0] for index in range(8)]
    found = []
    for side in (192, 256, 384):
        model = encnet_jax.load(tmp_path / "run", fields={"eval.bucket": side})
        found.append(np.stack([result.labels for result in model(images)]))
    assert len(np.unique(found[0])) > 5
    for padded in found[1:]:
        same = padded == found[0]
        assert same[:, :160, :160].mean() > 0.999
        assert same.mean() > 0.99
