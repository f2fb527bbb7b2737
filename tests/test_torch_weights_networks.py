"""Converted networks against the same networks in PyTorch, both ways."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_models

pytest.importorskip("torch", reason="PyTorch is an extra: requirements/torch.txt")

import torch  # noqa: E402

from benchmarks.torch_models import (  # noqa: E402
    authors,
    layers,
    openmmlab,
    sssegmentation,
    torchvision,
)
from encnet_jax import models, torch_weights  # noqa: E402
from encnet_jax.models.backbones.resnet import BackboneSpec, specs  # noqa: E402
from encnet_jax.models.layers import make_layers  # noqa: E402
from encnet_jax.torch_weights import names, state_dicts  # noqa: E402

CLASSES = 5
SIZES = {"stem_width": 8, "head_channels": 24, "aux_channels": 12, "num_codes": 4}
# Two float32 evaluations of networks this small differ by less.
TOLERANCE = 2e-5


def arrays(module):
    return {name: x.numpy() for name, x in module.state_dict().items()}


def assert_close(ours, theirs):
    theirs = theirs.detach().numpy()
    if theirs.ndim == 4:
        theirs = theirs.transpose(0, 2, 3, 1)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= TOLERANCE * np.abs(theirs).max()


def assert_export_loads(variables, m, family, module):
    """Loads what is exported into a fresh module, strictly, and compares every bit."""
    wanted = {n: x for n, x in module.state_dict().items() if not n.startswith("fc.")}
    exported = torch_weights.to_state_dict(variables, m, torch_weights.find(family))
    tensors = {name: torch.from_numpy(x) for name, x in exported.items()}
    fresh = layers.randomise(module, seed=1)
    if hasattr(fresh, "fc"):
        del fresh.fc
    fresh.load_state_dict(tensors, strict=True)
    for name, tensor in fresh.state_dict().items():
        assert torch.equal(tensor, wanted[name]), name


NETWORKS = {
    "authors": (authors.Authors, "deep", "release"),
    "mmseg": (openmmlab.OpenMMLab, "v1c", "mmseg"),
    "sssegmentation": (sssegmentation.SSSegmentation, "v1c", "mmseg"),
    "torchvision_segmentation": (torchvision.Torchvision, "conv7", "release"),
}
HEADS = (
    ("encnet", False),
    ("encnet", True),
    ("fcn", False),
    ("pspnet", False),
    ("deeplabv3", False),
)
CASES = (
    *(("authors", *head) for head in HEADS),
    *(("mmseg", *head) for head in HEADS),
    ("sssegmentation", "encnet", False),
    ("torchvision_segmentation", "fcn", False),
    ("torchvision_segmentation", "deeplabv3", False),
)


@pytest.mark.parametrize("family, name, lateral", CASES)
def test_network_equals_pytorch(monkeypatch, family, name, lateral):
    # mmsegmentation and this package differ in dilated blocks without bottlenecks.
    spec = BackboneSpec((1, 1, 2, 1), True, 8)
    reference_models.add_resnet(monkeypatch, "small", spec)
    network, stem, architecture = NETWORKS[family]
    module = layers.randomise(
        network(
            name,
            spec,
            SIZES["head_channels"],
            SIZES["aux_channels"],
            CLASSES,
            SIZES["num_codes"],
            lateral,
            stem=stem,
            stem_width=SIZES["stem_width"],
            rates=(1, 1, 2, 4),
        )
    )
    fields = {"lateral": lateral, "align_corners": family == "authors"}
    fields["stem"] = "conv7" if stem == "conv7" else "deep"
    m = reference_models.model_config(architecture, **SIZES, **fields, name=name)
    m = dataclasses.replace(m, backbone="small")
    image = np.random.default_rng(0).standard_normal((2, 3, 97, 65), np.float32)
    state_dict = {name: x.copy() for name, x in arrays(module).items()}
    assert torch_weights.recognise(state_dict).name == family
    variables = torch_weights.convert(state_dict, m, CLASSES)
    forward = jax.jit(models.build(m, CLASSES).apply)
    outputs = forward(variables, jnp.asarray(image.transpose(0, 2, 3, 1)))
    expected = module(torch.from_numpy(image))
    assert outputs.keys() == expected.keys()
    for key in outputs:
        assert_close(outputs[key], expected[key])
    assert_export_loads(variables, m, family, module)


BACKBONE_FAMILIES = {
    "torchvision": ("conv7", 64, False),
    "deep_stem": ("deep", 64, False),
    "resnet_d": ("deep", 32, True),
    "resnet_v1c": ("v1c", 32, False),
}


@pytest.mark.parametrize(
    "family, backbone",
    [
        ("torchvision", "resnet18"),
        ("deep_stem", "resnet18"),
        ("resnet_d", "resnet50"),
        ("resnet_v1c", "resnet18"),
    ],
)
def test_backbone_equals_pytorch(family, backbone):
    stem, stem_width, avg_down = BACKBONE_FAMILIES[family]
    options = {"stem": stem, "stem_width": stem_width, "avg_down": avg_down}
    module = layers.Classifier(specs()[backbone], **options)
    layers.randomise(module)
    m = reference_models.model_config(
        "release",
        name="fcn",
        backbone=backbone,
        stem="conv7" if stem == "conv7" else "deep",
        stem_width=stem_width,
        avg_down=avg_down,
        output_stride=32,
    )
    # Odd sides: the pooled shortcut's last pixel stands alone.
    image = np.random.default_rng(0).standard_normal((1, 3, 97, 65), np.float32)
    state_dict = {name: x.copy() for name, x in arrays(module).items()}
    assert torch_weights.recognise(state_dict).name == family
    variables = torch_weights.convert(state_dict, m, CLASSES)
    assert variables["params"].keys() == {"backbone"}
    forward = jax.jit(models.build(m, CLASSES).backbone(layers=make_layers()).apply)
    own = {collection: tree["backbone"] for collection, tree in variables.items()}
    stages = forward(own, jnp.asarray(image.transpose(0, 2, 3, 1)))
    for i, theirs in enumerate(module.stages(torch.from_numpy(image)), 1):
        assert_close(stages[f"stage{i}"], theirs)
    assert_export_loads(variables, m, family, module)


@pytest.mark.parametrize("family", BACKBONE_FAMILIES)
@pytest.mark.parametrize(
    "backbone", ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
)
def test_every_depth_has_pytorchs_names_and_shapes(family, backbone):
    stem, stem_width, avg_down = BACKBONE_FAMILIES[family]
    m = reference_models.model_config(
        "release",
        backbone=backbone,
        stem="conv7" if stem == "conv7" else "deep",
        stem_width=stem_width,
        avg_down=avg_down,
    )
    with torch.device("meta"):
        module = layers.ResNet(
            specs()[backbone], stem=stem, stem_width=stem_width, avg_down=avg_down
        )
    shapes = state_dicts.variable_shapes(m, CLASSES)
    entries = names.table(shapes, torch_weights.find(family), m)
    ours = {e.name: e.shape for e in entries} | dict.fromkeys(
        names.counters(entries), ()
    )
    assert ours == {name: tuple(x.shape) for name, x in module.state_dict().items()}


def test_dilated_resnet18_equals_pytorch():
    module = layers.randomise(layers.ResNet(specs()["resnet18"], rates=(1, 1, 2, 4)))
    m = reference_models.model_config(
        "release", name="fcn", backbone="resnet18", stem="conv7"
    )
    image = np.random.default_rng(0).standard_normal((1, 3, 65, 49), np.float32)
    variables = torch_weights.convert(arrays(module), m, CLASSES)
    own = {collection: tree["backbone"] for collection, tree in variables.items()}
    forward = jax.jit(models.build(m, CLASSES).backbone(layers=make_layers()).apply)
    stages = forward(own, jnp.asarray(image.transpose(0, 2, 3, 1)))
    assert_close(stages["stage4"], module.stages(torch.from_numpy(image))[3])
