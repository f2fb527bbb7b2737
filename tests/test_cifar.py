"""The networks of Table 6: sizes, what scales what, the drawn smoothing factors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from encnet_jax import config as config_lib
from encnet_jax import tasks
from encnet_jax.errors import UserError
from encnet_jax.models import cifar
from encnet_jax.models.encoding import Encoding, encode, smoothing_statistics
from encnet_jax.pods import parallel
from encnet_jax.train import optim
from encnet_jax.train.assemble import assemble
from encnet_jax.train.step import parallel_step, random_keys, single_step


def narrow_config(word="encnet16k64d", **fields):
    config = config_lib.load(f"configs/cifar10.py:{word},smoke")
    config.model.width = 8
    config.update_from_flattened_dict(fields)
    return config_lib.resolve(config)


def images_of(count, seed=0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(size=(count, 32, 32, 3)), jnp.float32)


@pytest.mark.parametrize(
    ("word", "published", "exact"),
    [
        ("resnet64d", 2.7, 2.78),
        ("se_resnet64d", 2.8, 2.80),
        ("encnet16k64d", 3.5, 3.51),
        ("encnet32k64d", None, 4.20),
        ("encnet32k128d", 16.8, 16.79),
    ],
)
def test_parameter_counts_of_table_6(word, published, exact):
    config = config_lib.resolve(config_lib.load(f"configs/cifar10.py:{word}"))
    model = tasks.of(config).build_model(10)
    params = jax.eval_shape(
        lambda key: model.init(key, jnp.zeros((1, 32, 32, 3))), jax.random.key(0)
    )["params"]
    millions = sum(x.size for x in jax.tree.leaves(params)) / 1e6
    assert round(millions, 2) == exact
    if published:
        assert abs(millions - published) < 0.1
    kernels = [
        path
        for path, x in jax.tree_util.tree_leaves_with_path(params)
        if path[-1].key == "kernel" and path[-2].key != "shortcut"
    ]
    assert sum("scaling" not in str(path) for path in kernels) == 14


def test_resolution_halves_and_channels_double():
    model = cifar.build(narrow_config("resnet64d").model, 10)
    _, state = jax.eval_shape(
        lambda key: model.init_with_output(
            key, images_of(2), capture_intermediates=True, mutable=True
        ),
        jax.random.key(0),
    )
    shapes = [
        state["intermediates"][f"stage{s}_block02"]["__call__"][0].shape
        for s in (1, 2, 3)
    ]
    assert shapes == [(2, 32, 32, 8), (2, 16, 16, 16), (2, 8, 8, 32)]


@pytest.mark.parametrize("scaling", [None, cifar.SqueezeExcitation])
def test_a_block_without_residual_returns_its_input(scaling):
    """With nothing on the residual branch a block returns its input."""
    block = cifar.PreactBlock(16, scaling=scaling)
    x = jnp.repeat(images_of(2)[..., :1], 16, axis=-1)
    variables = block.init(jax.random.key(0), x, False)
    assert not np.allclose(block.apply(variables, x, False), x)
    variables["params"]["conv2"]["kernel"] *= 0
    np.testing.assert_array_equal(block.apply(variables, x, False), x)


def test_scaling_is_of_the_residual_branch():
    block = cifar.PreactBlock(16, scaling=cifar.SqueezeExcitation)
    x = jnp.repeat(images_of(2)[..., :1], 16, axis=-1)
    variables = block.init(jax.random.key(0), x, False)
    for layer in variables["params"]["scaling"].values():
        layer["kernel"] *= 0  # Every factor is sigmoid(0) = 1/2.
    bare = {**variables, "params": dict(variables["params"])}
    bare["params"].pop("scaling")
    residual = cifar.PreactBlock(16).apply(bare, x, False) - x
    np.testing.assert_allclose(
        block.apply(variables, x, False), x + residual / 2, atol=1e-5
    )


def test_encoded_scaling_equals_its_definition():
    module = cifar.EncodedScaling(num_codes=4)
    x = images_of(2)[:, :5, :6, :1] + jnp.arange(16.0).reshape(1, 1, 1, -1) / 8
    variables = module.init(jax.random.key(1), x, False)
    params = variables["params"]
    # Fresh running statistics: batch norm divides by sqrt(1 + 1e-5).
    projected = x.reshape(2, 30, 16) @ params["project"]["conv"]["kernel"][0, 0]
    features = np.maximum(projected / np.sqrt(1 + 1e-5), 0)
    codes = encode(
        features, params["encoding"]["codewords"], params["encoding"]["smoothing"]
    ).reshape(2, 16)
    unit = codes / np.linalg.norm(codes, axis=1, keepdims=True)
    logits = unit @ params["attention"]["kernel"] + params["attention"]["bias"][None]
    expected = 1 / (1 + np.exp(-logits))
    np.testing.assert_allclose(module.apply(variables, x, False), expected, rtol=1e-5)


@pytest.mark.parametrize("word", ["se_resnet64d", "encnet16k64d"])
def test_every_parameter_gets_a_gradient(word):
    config = narrow_config(word, **{"model.draw_smoothing": False, "model.width": 16})
    model = cifar.build(config.model, 10)
    images = images_of(4)
    variables = jax.jit(model.init)(jax.random.key(0), images)
    # Of so few hidden units all may be below zero; lifted, none is.
    variables["params"] = jax.tree_util.tree_map_with_path(
        lambda path, x: x + 2 if path[-2].key == "squeeze" and x.ndim == 1 else x,
        variables["params"],
    )

    def loss(params):
        outputs, _ = model.apply(
            {**variables, "params": params}, images, train=True, mutable=["batch_stats"]
        )
        return jnp.sum(outputs["logits"] * jnp.arange(40.0).reshape(4, 10) ** 2)

    grads = jax.jit(jax.grad(loss))(variables["params"])
    for path, grad in jax.tree_util.tree_leaves_with_path(grads):
        assert np.isfinite(grad).all() and np.abs(grad).max() > 0, path


def test_smoothing_is_drawn_in_training_and_half_in_evaluation():
    layer = Encoding(4, draw_smoothing=True)
    x = images_of(2)[:, :3, :3]
    variables = layer.init(jax.random.key(0), x)
    assert set(variables["params"]) == {"codewords"}
    flat, codewords = x.reshape(2, 9, 3), variables["params"]["codewords"]
    np.testing.assert_allclose(
        layer.apply(variables, x), encode(flat, codewords, jnp.full(4, 0.5)), rtol=1e-6
    )

    def train(seed):
        keys = {"smoothing": jax.random.key(seed)}
        return np.asarray(layer.apply(variables, x, True, rngs=keys))

    np.testing.assert_array_equal(train(0), train(0))
    assert not np.allclose(train(0), train(1))
    # One pixel at distance r^2 = 1, 4, ... of the codewords tells the factors apart.
    codewords = jnp.arange(4.0)[:, None] + 1
    point = jnp.zeros((1, 1, 1))
    draws = []
    for seed in range(200):
        keys = {"smoothing": jax.random.key(seed)}
        params = {"params": {"codewords": codewords}}
        coded = layer.apply(params, point, True, rngs=keys)[0, :, 0]
        weights = np.log(np.asarray(-coded / codewords[:, 0]))
        draws.append(weights[0] - weights[1])  # 4 s_1 - s_0, in -1..4, mean 3/2.
    assert min(draws) < -0.3 and max(draws) > 3.3
    assert abs(np.mean(draws) - 1.5) < 0.3


def test_all_devices_draw_the_same_smoothing_factors():
    def drawn(step):
        def on_device(_):
            keys = random_keys(3, step, "batch")
            return {name: jax.random.uniform(key, (2,)) for name, key in keys.items()}

        return jax.tree.map(np.asarray, jax.pmap(on_device, "batch")(jnp.zeros(8)))

    first, again, later = drawn(0), drawn(0), drawn(1)
    assert len(np.unique(first["smoothing"], axis=0)) == 1
    assert len(np.unique(first["dropout"], axis=0)) == 8
    for name in ("smoothing", "dropout"):
        np.testing.assert_array_equal(first[name], again[name])
        assert (first[name] != later[name]).all()
    assert not np.isin(first["smoothing"], first["dropout"]).any()


@pytest.mark.slow
def test_eight_devices_draw_once_and_equal_one():
    """A draw of its own on any device would change loss, statistics and weights."""
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.integers(0, 256, (16, 32, 32, 3), np.uint8),
        "label": rng.integers(0, 10, 16).astype(np.uint8),
    }

    def prepare(axis_name):
        return assemble(narrow_config(), 10, axis_name=axis_name)

    parts = prepare(None)
    alone, expected = single_step(parts.step)(parts.state, batch)
    parts = prepare("batch")
    step = parallel_step(parts.step)
    state, metrics = step(parallel.replicate(parts.state), parallel.shard(batch))
    for name in ("loss", "error", "grad_norm"):
        np.testing.assert_allclose(metrics[name], expected[name], rtol=2e-4)
    for ours, theirs in zip(
        jax.tree.leaves((state.params, state.batch_stats)),
        jax.tree.leaves((alone.params, alone.batch_stats)),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=2e-5)


def test_learned_smoothing_factors_are_summed_up():
    params = {
        "a": {
            "encoding": {"smoothing": jnp.array([0.2, 0.4]), "codewords": jnp.ones(9)}
        },
        "b": {"smoothing": jnp.array([0.6, 0.8])},
    }
    found = smoothing_statistics(params)
    np.testing.assert_allclose(found["smoothing_mean"], 0.5, rtol=1e-6)
    np.testing.assert_allclose(found["smoothing_std"], np.sqrt(0.05), rtol=1e-6)
    assert smoothing_statistics({"a": {"kernel": jnp.ones(2)}}) == {}


def test_pixels_are_normalised_by_channel():
    task = tasks.of(narrow_config())
    pixels = np.array([[0, 128, 255], [125, 123, 114]], np.uint8)
    expected = [[-1.9895, 0.0812, 2.1158], [-0.0049, 0.0006, 0.0021]]
    np.testing.assert_allclose(task.normalise(pixels), expected, atol=1e-4)


def test_one_learning_rate_everywhere():
    """No parameter lies in a backbone, so none is in a head either."""
    optim_config = narrow_config(architecture="release").optim
    assert optim_config.head_lr_multiplier == 10
    params = {"stem": {"kernel": jnp.ones(1)}}
    tx, _ = optim.optimizer(optim_config, params, total_steps=10, batch_size=128)
    updates, _ = tx.update({"stem": {"kernel": jnp.ones(1)}}, tx.init(params), params)
    expected = -optim_config.base_lr * (1 + optim_config.weight_decay)
    np.testing.assert_allclose(updates["stem"]["kernel"], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"model.name": "fcn"},
            "model.name is 'fcn'; expected one of: resnet, se_resnet",
        ),
        ({"train.num_pictures": 2}, "train.num_pictures is 2"),
        (
            {"task": "segmentation"},
            "model.draw_smoothing is True; expected one of: False",
        ),
    ],
)
def test_values_of_the_other_task_are_refused(fields, message):
    with pytest.raises(UserError, match=message):
        narrow_config(**fields)


def test_data_set_of_the_other_task_is_refused():
    config = config_lib.load("configs/cifar10.py:smoke")
    config.data.name = "scenes"
    with pytest.raises(UserError, match="'scenes' is a data set for segmentation"):
        tasks.open_dataset(config_lib.resolve(config))
