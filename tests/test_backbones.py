"""VGG-16 and ConvNeXt-T: PyTorch's features, dilation, padding, every head on top."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_models

from encnet_jax import models, torch_weights
from encnet_jax.models import BACKBONES, HEADS
from encnet_jax.models.backbones import feature_info
from encnet_jax.models.layers import make_layers

CLASSES = 5
NEW = ("vgg16", "convnext_tiny")
NARROW = {"stem_width": 8, "head_channels": 8, "aux_channels": 8, "num_codes": 4}


def model_config(backbone: str, **fields):
    return reference_models.model_config("release", backbone=backbone, **fields)


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((*shape, 3), np.float32)


def reference(backbone: str):
    pytest.importorskip("torch", reason="PyTorch is an extra: requirements/torch.txt")
    import reference_backbones

    networks = {
        "vgg16": reference_backbones.VGG16,
        "convnext_tiny": reference_backbones.ConvNeXtTiny,
    }
    return reference_backbones.randomise(networks[backbone]())


def stages(m, variables, x) -> dict[str, np.ndarray]:
    """Returns the stages of the backbone of `m`."""
    backbone = BACKBONES.get(m.backbone)(m)(layers=make_layers())
    parts = {kind: arrays["backbone"] for kind, arrays in variables.items()}
    return jax.jit(backbone.apply)(parts, x)


def close(ours, theirs) -> None:
    theirs = np.moveaxis(np.asarray(theirs), 1, -1)
    scale = np.abs(theirs).max()
    np.testing.assert_allclose(np.asarray(ours) / scale, theirs / scale, atol=1e-5)


@pytest.mark.parametrize("backbone", NEW)
def test_features_equal_pytorch_with_the_same_weights(backbone):
    torch = pytest.importorskip("torch")
    module = reference(backbone)
    m = model_config(backbone, output_stride=32)
    weights = {name: x.numpy() for name, x in module.state_dict().items()}
    variables = torch_weights.convert(weights, m, CLASSES)
    x = images(2, 64, 96)
    with torch.no_grad():
        expected = module.stages(torch.from_numpy(x).permute(0, 3, 1, 2))
    found = stages(m, variables, x)
    for ours, theirs in zip(found.values(), expected, strict=True):
        close(ours, theirs)


def test_the_first_fully_connected_layer_is_a_convolution():
    """At the middle of 7x7 features it sees what the fully connected layer sees."""
    torch = pytest.importorskip("torch")
    module = reference("vgg16")
    m = model_config("vgg16", output_stride=32, **{"vgg.fc6": True})
    weights = {name: x.numpy() for name, x in module.state_dict().items()}
    variables = torch_weights.convert(weights, m, CLASSES)
    x = images(1, 224, 224)
    with torch.no_grad():
        pooled = module.stages(torch.from_numpy(x).permute(0, 3, 1, 2))[-1]
        expected = module.fc6(pooled).numpy()
    found = np.asarray(stages(m, variables, x)["stage4"])
    assert found.shape == (1, 7, 7, 4096)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found[:, 3, 3] / scale, expected / scale, atol=1e-5)
    back = torch_weights.to_state_dict(
        variables, m, torch_weights.find("torchvision_vgg")
    )
    np.testing.assert_array_equal(
        back["classifier.0.weight"], weights["classifier.0.weight"]
    )


def randomised(m):
    """Returns a backbone's variables with layer scales that show in the output."""
    backbone = BACKBONES.get(m.backbone)(m)(layers=make_layers())
    variables = jax.jit(backbone.init)(jax.random.key(0), images(1, 32, 32))
    return {
        "params": jax.tree_util.tree_map_with_path(
            lambda path, x: jnp.full_like(x, 0.5) if path[-1].key == "gamma" else x,
            {"backbone": variables["params"]},
        )
    }


@pytest.mark.parametrize("backbone", NEW)
def test_stride_8_subsampled_equals_strides_16_and_32(backbone):
    fields = {"vgg.fc6": True} if backbone == "vgg16" else {}
    at = {s: model_config(backbone, output_stride=s, **fields) for s in (8, 16, 32)}
    variables, x = randomised(at[8]), images(1, 64, 96)
    found = {stride: stages(m, variables, x) for stride, m in at.items()}
    assert found[8]["stage4"].shape[1:3] == (8, 12)
    for stride in (16, 32):
        for stage in ("stage3", "stage4"):
            expected = np.asarray(found[stride][stage])
            step = 2 if stride == 16 or stage == "stage3" else 4
            ours = np.asarray(found[8][stage])[:, ::step, ::step]
            scale = np.abs(expected).max()
            np.testing.assert_allclose(ours / scale, expected / scale, atol=5e-6)


@pytest.mark.parametrize("backbone", NEW)
def test_what_surrounds_an_image_on_a_canvas_is_left_out(backbone):
    from encnet_jax.models import inside

    m = model_config(backbone)
    variables, x = randomised(m), images(1, 40, 56)
    canvas = np.full((1, 64, 64, 3), 7.0, np.float32)
    canvas[:, :40, :56] = x
    covered = inside.of_sizes(jnp.array([[40, 56]]), 64, 64)
    backbone = BACKBONES.get(m.backbone)(m)
    masked = backbone(layers=make_layers(inside=covered))
    found = jax.jit(masked.apply)({"params": variables["params"]["backbone"]}, canvas)
    for name, expected in stages(m, variables, x).items():
        height, width = expected.shape[1:3]
        ours = np.asarray(found[name])[:, :height, :width]
        scale = np.abs(expected).max()
        np.testing.assert_allclose(ours / scale, expected / scale, atol=5e-6)


@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_feature_info_states_channels_and_strides(backbone, output_stride):
    fields = {"stem_width": 64} if backbone != "tiny" else {"stem_width": 8}
    m = model_config(backbone, output_stride=output_stride, **fields)
    module = BACKBONES.get(backbone)(m)(layers=make_layers())
    x = jax.ShapeDtypeStruct((1, 70, 96, 3), jnp.float32)
    found, _ = jax.eval_shape(
        lambda x: module.init_with_output(jax.random.key(0), x), x
    )
    info = feature_info(m)
    assert {name: y.shape for name, y in found.items()} == {
        name: (1, -(-70 // stride), 96 // stride, channels)
        for name, (channels, stride) in info.items()
    }
    assert info["stage4"].stride == output_stride


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("backbone", NEW)
def test_every_head_accepts_every_backbone(backbone, head):
    """Shapes, and a gradient for every parameter."""
    architecture = "paper" if head == "encnet" else "release"
    m = reference_models.model_config(
        architecture, name=head, backbone=backbone, dropout=0.0, **NARROW
    )
    m = (
        m
        if head != "piecewise_crf"
        else reference_models.model_config(
            "release",
            name=head,
            backbone=backbone,
            dropout=0.0,
            **NARROW,
            **{"crf.features": "plain", "crf.hidden_channels": 8, "output_stride": 16},
        )
    )
    network, x = models.build(m, CLASSES), images(1, 64, 64)

    def loss(params, stats):
        outputs, _ = network.apply(
            {"params": params, "batch_stats": stats}, x, True, mutable=["batch_stats"]
        )
        leaves = [y for y in jax.tree.leaves(outputs) if y.dtype == jnp.float32]
        return sum(jnp.sum(jnp.sin(y * (1 + i))) for i, y in enumerate(leaves)), outputs

    def run(key):
        variables = network.init(key, x)
        params = jax.tree.map(lambda p: p + 0.01, variables["params"])
        stats = variables.get("batch_stats", {})
        return jax.grad(loss, has_aux=True)(params, stats)

    # Optimising the machine code takes longer than running it once.
    options = {"xla_backend_optimization_level": 0}
    gradients, outputs = jax.jit(run, compiler_options=options)(jax.random.key(0))
    side = -(-64 // models.logits_stride(m))
    assert outputs["logits"].shape == (1, side, side, CLASSES)
    silent = [
        jax.tree_util.keystr(path)
        for path, g in jax.tree_util.tree_leaves_with_path(gradients)
        if not np.any(np.asarray(g)) or not np.all(np.isfinite(np.asarray(g)))
    ]
    assert not silent
