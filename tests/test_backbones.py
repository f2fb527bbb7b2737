"""VGG-16 and ConvNeXt-T: PyTorch's features, dilation, padding, every head on top."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_models

from encnet_jax import models, torch_weights
from encnet_jax.models import BACKBONES, HEADS, inside
from encnet_jax.models.backbones import feature_info
from encnet_jax.models.backbones.convnext import ConvNeXt
from encnet_jax.models.backbones.vgg import VGG, Block
from encnet_jax.models.layers import make_layers
from encnet_jax.registry import Registration
from encnet_jax.torch_weights.backbones import flattened
from encnet_jax.torch_weights.names import table
from encnet_jax.torch_weights.state_dicts import variable_shapes

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
    """At the middle of 7x7 positions it equals the fully connected layer."""
    torch = pytest.importorskip("torch")
    linear, layout = torch.nn.Linear(3 * 7 * 7, 5), flattened(7)
    x = images(1, 7, 7)
    with torch.no_grad():
        flat = torch.from_numpy(x).permute(0, 3, 1, 2).flatten(1)
        expected = torch.relu(linear(flat)).numpy()
    weight, bias = (value.detach().numpy() for value in linear.parameters())
    params = {"conv1": {"kernel": layout.from_torch(weight), "bias": bias}}
    block = Block(5, (1,), make_layers(), pool=0, kernel_size=7)
    found = block.apply({"params": params}, x)
    np.testing.assert_allclose(found[:, 3, 3], expected, atol=1e-5)
    np.testing.assert_array_equal(layout.to_torch(layout.from_torch(weight)), weight)


def test_torchvision_names_the_first_fully_connected_layer():
    m = model_config("vgg16", **{"vgg.fc6": True})
    variables = variable_shapes(m, CLASSES)
    entries = table(variables, torch_weights.find("torchvision_vgg"), m)
    shapes = {entry.name: entry.shape for entry in entries}
    assert shapes["classifier.0.weight"] == (4096, 512 * 7 * 7)
    assert shapes["features.28.weight"] == (512, 512, 3, 3)
    assert len(shapes) == 2 * 14


@pytest.mark.parametrize(
    ("backbone", "fields", "shared", "own"),
    [
        ("vgg16", {"vgg.fc6": True}, "block5", "fc6"),
        ("convnext_tiny", {}, "stage3_block09", "stage4_block03"),
    ],
)
def test_scales_of_a_piecewise_crf_share_all_but_stage_4(backbone, fields, shared, own):
    fields |= {"output_stride": 16, "crf.features": "scales"}
    m = reference_models.model_config(
        "paper", name="piecewise_crf", backbone=backbone, **fields
    )
    modules = variable_shapes(m, CLASSES)["params"]["backbone"]
    assert {name for name in modules if name.endswith(own)} == {
        own,
        f"scale2_{own}",
        f"scale3_{own}",
    }
    assert [name for name in modules if name.endswith(shared)] == [shared]
    family = {"vgg16": "torchvision_vgg", "convnext_tiny": "timm_convnext"}[backbone]
    # A weight file initialises the last stage of every scale.
    entries = table(variable_shapes(m, CLASSES), torch_weights.find(family), m)
    names = [entry.name for entry in entries]
    assert len(set(names)) < len(names) == len(entries)


SMALL = {
    "vgg16": partial(VGG, width=4, fc6=True),
    "convnext_tiny": partial(ConvNeXt, width=8, blocks=(1, 2, 2, 2)),
}


def randomised(backbone: str) -> dict:
    """Returns variables of a small backbone; layer scales show in the output."""
    module = SMALL[backbone](layers=make_layers())
    variables = jax.jit(module.init)(jax.random.key(0), images(1, 32, 32))
    return jax.tree_util.tree_map_with_path(
        lambda path, x: jnp.full_like(x, 0.5) if path[-1].key == "gamma" else x,
        variables,
    )


@pytest.mark.parametrize("backbone", NEW)
def test_stride_8_subsampled_equals_strides_16_and_32(backbone):
    variables, x = randomised(backbone), images(1, 64, 96)

    def stages_at(stride):
        module = SMALL[backbone](layers=make_layers(), output_stride=stride)
        return jax.jit(module.apply)(variables, x)

    found = {stride: stages_at(stride) for stride in (8, 16, 32)}
    assert found[8]["stage4"].shape[1:3] == (8, 12)
    for stride in (16, 32):
        for stage in ("stage3", "stage4"):
            expected = np.asarray(found[stride][stage])
            step = 2 if stride == 16 or stage == "stage3" else 4
            ours = np.asarray(found[8][stage])[:, ::step, ::step]
            scale = np.abs(expected).max()
            np.testing.assert_allclose(ours / scale, expected / scale, atol=5e-6)


@pytest.mark.parametrize("backbone", NEW)
def test_padding_does_not_change_the_features_of_an_image(backbone):
    variables, x = randomised(backbone), images(1, 40, 56)
    canvas = np.full((1, 64, 64, 3), 7.0, np.float32)
    canvas[:, :40, :56] = x
    covered = inside.of_sizes(jnp.array([[40, 56]]), 64, 64)

    def run(image, covered):
        module = SMALL[backbone](layers=make_layers(inside=covered))
        return jax.jit(module.apply)(variables, image)

    found = run(canvas, covered)
    for name, expected in run(x, None).items():
        height, width = expected.shape[1:3]
        ours = np.asarray(found[name])[:, :height, :width]
        scale = np.abs(expected).max()
        np.testing.assert_allclose(ours / scale, expected / scale, atol=5e-6)


@pytest.mark.parametrize("backbone", NEW)
def test_rematerialisation_changes_no_gradient(backbone):
    variables, x = randomised(backbone), images(1, 32, 32)

    def gradient(remat):
        module = SMALL[backbone](layers=make_layers(), remat=remat)
        return jax.jit(
            jax.grad(lambda v: jnp.sum(jnp.sin(module.apply(v, x)["stage4"])))
        )(variables)

    for ours, expected in zip(
        jax.tree.leaves(gradient(True)), jax.tree.leaves(gradient(False)), strict=True
    ):
        scale = max(np.abs(expected).max(), 1e-3)
        np.testing.assert_allclose(ours / scale, expected / scale, atol=1e-4)


@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize("backbone", BACKBONES.names())
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


@pytest.mark.parametrize("head", HEADS.names())
@pytest.mark.parametrize("backbone", NEW)
def test_every_head_accepts_every_backbone(monkeypatch, backbone, head):
    """Shapes, and a gradient for every parameter."""
    _, *rest = BACKBONES.registration(backbone)
    small = partial(SMALL[backbone], output_stride=8)
    monkeypatch.setitem(
        BACKBONES._entries, backbone, Registration(lambda m: small, *rest)
    )
    fields = dict(name=head, backbone=backbone, dropout=0.0, **NARROW)
    if head == "piecewise_crf":
        fields |= {"crf.features": "plain", "crf.hidden_channels": 8, "crf.box": 1.0}
    m = reference_models.model_config("paper", **fields)
    network, x = models.build(m, CLASSES), images(2, 32, 32)

    def loss(params, stats):
        outputs, _ = network.apply(
            {"params": params, "batch_stats": stats},
            x,
            True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(1)},
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
    side = -(-32 // models.logits_stride(m))
    assert outputs["logits"].shape == (2, side, side, CLASSES)
    silent = [
        jax.tree_util.keystr(path)
        for path, g in jax.tree_util.tree_leaves_with_path(gradients)
        if not np.any(np.asarray(g)) or not np.all(np.isfinite(np.asarray(g)))
    ]
    assert not silent
