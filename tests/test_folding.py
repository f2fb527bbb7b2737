"""Folded batch norms give what the unfolded network gives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_models
from flax import traverse_util
from flax.errors import ScopeParamNotFoundError

from encnet_jax import config as config_lib
from encnet_jax import models
from encnet_jax.models import winograd
from encnet_jax.models.backbones.resnet import BackboneSpec
from encnet_jax.models.folding import fold_batch_norms, transform_kernels
from encnet_jax.models.norm import SyncBatchNorm


def network(arguments, **fields):
    """A narrow network and variables in which every batch norm does something."""
    config = config_lib.load(f"configs/ade20k.py:{arguments}")
    narrow = {"head_channels": 16, "aux_channels": 8, "stem_width": 4}
    config.init_from = ""
    config.model.update(narrow | fields)
    config = config_lib.resolve(config)
    model = models.build(config.model, 5)
    images = jax.random.normal(jax.random.key(1), (1, 33, 33, 3))
    variables = jax.jit(model.init)(jax.random.key(0), images)
    rng = np.random.default_rng(0)
    flat = traverse_util.flatten_dict(variables)
    for path, x in flat.items():
        if path[-1] in ("scale", "var"):
            flat[path] = rng.uniform(0.5, 2.0, x.shape).astype(np.float32)
        elif path[-1] in ("mean", "bias"):
            flat[path] = rng.normal(0, 0.5, x.shape).astype(np.float32)
    variables = traverse_util.unflatten_dict(flat)
    return model, variables, images, config.model.norm_epsilon


def left(variables, name):
    flat = traverse_util.flatten_dict(variables, sep="/")
    return [path for path in flat if path.endswith(f"/{name}")]


def check_folded(model, variables, images, epsilon, rtol):
    folded = fold_batch_norms(variables, epsilon)
    assert len(left(variables, "scale")) > 8
    # Those of the codewords follow no convolution.
    assert all(path.endswith("context/norm/scale") for path in left(folded, "scale"))
    assert len(left(folded, "mean")) == len(left(folded, "scale"))
    expected = jax.jit(model.apply)(variables, images)
    outputs = jax.jit(model.apply)(folded, images)
    assert outputs.keys() == expected.keys()
    for name, wanted in expected.items():
        largest = float(jnp.abs(wanted).max())
        np.testing.assert_allclose(
            outputs[name], wanted, rtol=0, atol=rtol * largest, err_msg=name
        )


@pytest.mark.parametrize(
    "arguments",
    [
        "paper,encnet",
        "release,encnet",
        "mmseg,encnet",
        "release,fcn",
        "mmseg,fcn",
        "release,pspnet",
        "release,deeplabv3",
        "release,duc",
        "mmseg,deeplabv3",
    ],
)
def test_every_head(arguments):
    check_folded(*network(arguments, backbone="tiny"), rtol=1e-5)


@pytest.mark.parametrize(
    "fields",
    [
        {"backbone": "basic"},
        {"backbone": "bottlenecks", "stem": "conv7", "avg_down": True},
        {"backbone": "tiny", "lateral": True},
    ],
)
def test_every_kind_of_block_is_folded(fields, monkeypatch):
    for name in ("basic", "bottlenecks"):
        spec = BackboneSpec((1, 2, 2, 1), name == "bottlenecks", width=16)
        reference_models.add_resnet(monkeypatch, name, spec)
    check_folded(*network("release,encnet", **fields), rtol=5e-5)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["resnet34", "resnet101", "resnet152"])
def test_deeper_backbones(backbone):
    check_folded(*network("release,fcn", backbone=backbone), rtol=2e-4)


def test_a_folded_batch_norm_cannot_be_trained():
    layer, folded = SyncBatchNorm(), {"params": {"bias": jnp.asarray([1.0])}}
    np.testing.assert_array_equal(layer.apply(folded, jnp.ones((2, 1)), False), 2)
    with pytest.raises(ScopeParamNotFoundError, match="scale"):
        layer.apply(folded, jnp.ones((2, 1)), True, mutable=["batch_stats"])


def test_transformed_kernels_predict_the_same(monkeypatch):
    """Where a CPU uses Winograd's form; elsewhere the variables are unchanged."""
    spec = BackboneSpec((1, 2, 1, 1), bottleneck=False)
    reference_models.add_resnet(monkeypatch, "small", spec)
    model, variables, images, epsilon = network(
        "release,fcn", backbone="small", head_channels=64
    )
    folded = fold_batch_norms(variables, epsilon)
    prepared = transform_kernels(model, folded)
    transformed = left(prepared, winograd.POINTS)
    # conv1 has stride 2; the kernels of stage 1 have too few channels.
    assert f"params/backbone/stage2_block01/conv2/{winograd.POINTS}" in transformed
    assert "params/backbone/stage2_block01/conv1/kernel" in left(prepared, "kernel")
    assert "params/backbone/stage1_block01/conv1/kernel" in left(prepared, "kernel")
    assert len(left(folded, "kernel")) == len(left(prepared, "kernel")) + 8
    assert len(transformed) == 8
    expected = jax.jit(model.apply)(folded, images)["logits"]
    found = jax.jit(model.apply)(prepared, images)["logits"]
    largest = float(jnp.abs(expected).max())
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * largest)
    monkeypatch.setenv("ENCNET_PLATFORM_FORMS", "0")
    assert transform_kernels(model, folded) is folded
