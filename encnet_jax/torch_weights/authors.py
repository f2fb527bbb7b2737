"""Parameter names in weight files of PyTorch-Encoding, the authors' code."""

from encnet_jax.torch_weights import resnet
from encnet_jax.torch_weights.names import (
    NETWORK,
    Family,
    Rule,
    register,
    starting_with,
    unit,
)

_PSP_BRANCHES = {1: "conv1", 2: "conv2", 3: "conv3", 6: "conv4"}
_ASPP_BRANCHES = {"rate1": "b0", "rate12": "b1", "rate24": "b2", "rate36": "b3"}


def _context(path: str, name: str) -> list[Rule]:
    return [
        *unit(f"{path}/context/project", f"{name}.encmodule.encoding"),
        Rule(f"{path}/context/encoding", f"{name}.encmodule.encoding.3"),
        Rule(f"{path}/context/norm", f"{name}.encmodule.encoding.4"),
        Rule(f"{path}/context/attention", f"{name}.encmodule.fc.0"),
        Rule(f"{path}/context/presence", f"{name}.encmodule.selayer"),
    ]


def _encnet() -> list[Rule]:
    return [
        *unit("head/conv", "head.conv5"),
        *unit("head/lateral_stage2", "head.connect.0"),
        *unit("head/lateral_stage3", "head.connect.1"),
        *unit("head/fusion", "head.fusion"),
        *_context("head", "head"),
        Rule("head/classifier/conv", "head.conv6.1"),
    ]


def _fcn(path: str, name: str) -> list[Rule]:
    return [
        *unit(f"{path}/conv1", f"{name}.conv5"),
        Rule(f"{path}/classifier/conv", f"{name}.conv5.4"),
    ]


def _pspnet() -> list[Rule]:
    pools = [
        unit(f"head/pool{cells}", f"head.conv5.0.{name}")
        for cells, name in _PSP_BRANCHES.items()
    ]
    return [
        *sum(pools, []),
        *unit("head/conv", "head.conv5", 1),
        Rule("head/classifier/conv", "head.conv5.5"),
    ]


def _deeplabv3() -> list[Rule]:
    branches = [
        unit(f"head/{rate}", f"head.aspp.{name}")
        for rate, name in _ASPP_BRANCHES.items()
    ]
    return [
        *sum(branches, []),
        *unit("head/image", "head.aspp.b4.gap", 1),
        *unit("head/project", "head.aspp.project"),
        *unit("head/conv", "head.block"),
        Rule("head/classifier/conv", "head.block.4"),
    ]


def _rules(model_config) -> list[Rule]:
    heads = {
        "encnet": _encnet,
        "fcn": lambda: _fcn("head", "head"),
        "pspnet": _pspnet,
        "deeplabv3": _deeplabv3,
    }
    return [
        *resnet.rules(model_config, "pretrained."),
        *heads[model_config.name](),
        *_fcn("aux_head", "auxlayer"),
        # The authors' code has no such auxiliary head; the names follow its scheme.
        *unit("aux_head/conv", "auxlayer.conv5"),
        *_context("aux_head", "auxlayer"),
    ]


register(
    Family(
        name="authors",
        title="a segmentation network of PyTorch-Encoding (the authors' code)",
        parts=NETWORK,
        rules=_rules,
        recognises=starting_with("pretrained."),
        prefix="pretrained.",
        heads=(
            ("head.encmodule.", "encnet"),
            ("head.aspp.", "deeplabv3"),
            ("head.conv5.0.conv1.", "pspnet"),
            ("head.conv5.", "fcn"),
        ),
        switches=(
            ("lateral", "head.connect.", True, False),
            ("se_loss", "head.encmodule.selayer.", True, False),
            ("aux", "auxlayer.", "fcn", "none"),
            ("aux", "auxlayer.encmodule.", "context", "none"),
        ),
        conventions=(
            ("code_pooling", "mean"),
            ("gate", "residual"),
            ("align_corners", True),
        ),
        left_out=rf"pretrained\.{resnet.IMAGENET_CLASSIFIER}",
    )
)


def _is_deep_stem(names: set[str]) -> bool:
    # A ResNet-D also has a pooling layer before its shortcuts' convolutions.
    pooled = "layer2.0.downsample.2.weight" in names
    return {"conv1.0.weight", "layer1.0.conv1.weight"} <= names and not pooled


resnet.register_backbones(
    "deep_stem",
    "a deep-stem ResNet of PyTorch-Encoding (resnet50s and so on)",
    _is_deep_stem,
)
