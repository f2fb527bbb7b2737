"""The authors' CIFAR-10 networks: initial weights, batch norm, last batch, import."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from encnet_jax import cli, tasks, torch_weights
from encnet_jax import config as config_lib
from encnet_jax.checkpoints import read
from encnet_jax.errors import UserError
from encnet_jax.evaluate import run as run_lib
from encnet_jax.models import cifar
from encnet_jax.models.cifar_authors import unit_vectors
from encnet_jax.models.device_norm import DeviceBatchNorm
from encnet_jax.torch_weights.__main__ import main
from encnet_jax.train import loop

SMOKE = "configs/cifar10.py:encnet16k64d,authors,smoke"


def smoke_config(**fields):
    config = config_lib.load(SMOKE)
    config.update_from_flattened_dict({"model.width": 8, **fields})
    return config


def test_weights_are_initialised_as_in_pytorch():
    """Uniform within 1 / sqrt(fan-in), scales of batch norms within 0 and 1."""
    m = config_lib.resolve(smoke_config(**{"model.width": 32})).model
    # Optimising the machine code takes longer than running it once.
    init = jax.jit(
        cifar.build(m, 10).init,
        compiler_options={"xla_backend_optimization_level": 0},
    )
    variables = init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    kinds = set()
    for path, x in jax.tree_util.tree_leaves_with_path(variables["params"]):
        module, leaf = path[-2].key, path[-1].key
        kernel = variables["params"]
        for part in path[:-1]:
            kernel = kernel[part.key]
        if leaf == "scale":
            low, high = 0, 1
        elif leaf == "bias" and "kernel" not in kernel:
            low = high = 0
        elif leaf in ("kernel", "bias"):
            high = np.prod(kernel["kernel"].shape[:-1]) ** -0.5
            low = -high
        else:
            continue
        kinds.add((module, leaf))
        assert low <= x.min() and x.max() <= high, path
        if low < high and x.size >= 32:
            assert x.max() > low + 0.8 * (high - low), path
            assert x.min() < high - 0.8 * (high - low), path
        if x.size > 2048:
            spread = (high - low) / np.sqrt(12)
            assert np.std(x) == pytest.approx(spread, rel=0.05), path
    assert {("stem", "bias"), ("project", "bias"), ("shortcut", "bias")} < kinds
    assert {("norm2", "scale"), ("attention", "kernel")} < kinds


def test_a_dead_code_has_length_0_and_a_gradient():
    codes = jnp.zeros((1, 2, 3)).at[0, 1].set(1e-9)
    np.testing.assert_allclose(unit_vectors(codes)[0], [0, 0, 0, 0.1, 0.1, 0.1])
    assert jnp.isfinite(jax.grad(lambda x: unit_vectors(x).sum())(codes * 0)).all()
    unit = unit_vectors(jnp.arange(6.0).reshape(1, 2, 3))[0]
    np.testing.assert_allclose(unit, np.arange(6) / np.sqrt(55), rtol=1e-6)


def test_each_device_normalises_by_itself():
    """And all keep the mean of their unbiased running statistics."""
    x = jax.random.normal(jax.random.key(0), (8, 3, 2, 2, 4)) * 3 + 5
    x = x * jnp.arange(1.0, 9.0)[:, None, None, None, None]
    norm = DeviceBatchNorm("batch")
    variables = norm.init(jax.random.key(1), x[0], True)
    step = jax.pmap(
        lambda v, x: norm.apply(v, x, True, mutable=["batch_stats"]),
        "batch",
        in_axes=(None, 0),
    )
    y, updates = step(variables, x)
    mean = np.mean(x, axis=(1, 2, 3))
    var = np.var(x, axis=(1, 2, 3))
    scale = variables["params"]["scale"].reshape(1, 1, 1, 1, -1)
    expected = (x - mean[:, None, None, None]) / np.sqrt(var + 1e-5)[
        :, None, None, None
    ]
    np.testing.assert_allclose(y, expected * scale, atol=1e-5)
    stats = updates["batch_stats"]
    unbiased = (var * 12 / 11).mean(0)
    for device in range(8):
        np.testing.assert_allclose(stats["mean"][device], 0.1 * mean.mean(0), rtol=1e-5)
        np.testing.assert_allclose(
            stats["var"][device], 0.9 + 0.1 * unbiased, rtol=1e-5
        )
    evaluated = norm.apply(jax.tree.map(jnp.ones_like, variables), x[0], False)
    np.testing.assert_allclose(evaluated, (x[0] - 1) / np.sqrt(1 + 1e-5) + 1, rtol=1e-5)


@pytest.mark.slow
def test_an_epoch_ends_with_the_smaller_batch(tmp_path):
    fields = {
        "model.name": "resnet",
        "train.batch_size": 1000,
        "train.total_steps": 0,
        "train.epochs": 2.0,
        "train.eval_every_epochs": 0.0,
    }
    loop.train(smoke_config(**fields), str(tmp_path))
    # 1,800 images: 1,000 and 800, twice.
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["train"]["total_steps"] == 4
    assert saved["optim"]["cosine_ahead"] == 0.5
    variables, _ = read.restore_variables(str(tmp_path))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(variables))


def test_a_last_batch_that_does_not_spread_is_refused(tmp_path):
    fields = {"train.batch_size": 128, "train.accumulate": 2}
    with pytest.raises(UserError, match="data.keep_last_batch=True. is 8; expected a"):
        loop.train(smoke_config(**fields), str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_pixels_are_divided_by_the_configured_deviation():
    task = tasks.of(config_lib.resolve(smoke_config()))
    normalised = task.normalise(np.uint8([[255, 255, 255]]))
    expected = (1 - np.array([0.4914, 0.4822, 0.4465])) / [0.2023, 0.1994, 0.2010]
    np.testing.assert_allclose(normalised[0], expected, rtol=1e-6)


def test_there_is_no_se_resnet_of_the_authors():
    with pytest.raises(UserError, match="the authors.* code has no SE-ResNet"):
        config_lib.resolve(config_lib.load("configs/cifar10.py:se_resnet64d,authors"))


@pytest.fixture
def state_dict():
    """A checkpoint of theirs from several GPUs, older than PyTorch 0.4.1."""
    config = config_lib.resolve(smoke_config(**{"model.draw_smoothing": False}))
    model = cifar.build(config.model, 10)
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x), images)
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda x: rng.random(x.shape, np.float32), shapes)
    family = torch_weights.find("authors_cifar")
    arrays = torch_weights.to_state_dict(variables, config.model, family)
    return {
        f"module.{name}": x
        for name, x in arrays.items()
        if not name.endswith("num_batches_tracked")
    }


@pytest.mark.parametrize("draw_smoothing", [True, False])
def test_the_authors_checkpoint_is_imported_and_scored(
    state_dict, draw_smoothing, tmp_path, request, monkeypatch, capsys
):
    monkeypatch.chdir(request.config.rootpath)
    source, workdir = tmp_path / "in.safetensors", tmp_path / "run"
    state_dict["module.model.10.bias"][3] = 1e9  # Every image is "green".
    safetensors.numpy.save_file(state_dict, source)
    command = f"torch_weights import --source {source} --workdir {workdir}".split()
    flags = [
        f"--config.model.draw_smoothing={draw_smoothing}",
        "--config.model.width=8",
    ]
    assert cli.run(main, [*command, f"--config={SMOKE}", *flags]) == 0
    output = capsys.readouterr().out
    assert "weights of a CIFAR-10 classifier" in output and "warning" not in output
    variables, config = read.restore_variables(str(workdir))
    again = torch_weights.to_state_dict(
        variables, config.model, torch_weights.find("authors_cifar")
    )
    lost = {n for n in state_dict if n.removeprefix("module.") not in again}
    assert len(lost) == 6 * draw_smoothing and all(n.endswith(".scale") for n in lost)
    for name in state_dict.keys() - lost:
        np.testing.assert_array_equal(
            again[name.removeprefix("module.")], state_dict[name]
        )
    errors = run_lib.evaluate_run(str(workdir))["error"]
    assert errors.pop("green") == 0 and set(errors.values()) <= {1, None}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (
            SMOKE.replace("authors,", ""),
            "model.block is 'paper', but these weights are for",
        ),
        (
            SMOKE.replace("encnet16", "encnet32"),
            "mismatched model.3.0.se.fc.3.codewords",
        ),
        (
            SMOKE.replace("encnet16k", "resnet"),
            "model.name is 'resnet', but these weights are for 'encnet'",
        ),
        ("configs/quickstart.py:smoke", "these weights are for classification"),
    ],
)
def test_a_checkpoint_of_another_network_is_refused(
    state_dict, config, words, tmp_path, request, monkeypatch, capsys
):
    monkeypatch.chdir(request.config.rootpath)
    source, workdir = tmp_path / "in.safetensors", tmp_path / "run"
    safetensors.numpy.save_file(state_dict, source)
    command = f"torch_weights import --source {source} --workdir {workdir}".split()
    flags = [f"--config={config}", "--config.model.width=8"]
    assert cli.run(main, [*command, *flags]) == 2
    assert words in capsys.readouterr().err
    assert not workdir.exists()
