"""Parameter names in weight files of mmsegmentation and its ResNet-v1c backbones."""

import numpy as np

from encnet_jax.errors import UserError
from encnet_jax.models.backbones.resnet import specs
from encnet_jax.torch_weights import resnet
from encnet_jax.torch_weights.names import (
    CONV,
    NETWORK,
    Family,
    Layout,
    Rule,
    register,
    starting_with,
)

_BRANCHES = 5
# mmsegmentation's ASPP concatenates the image-level branch first, ours last.
_IMAGE_BRANCH_FIRST = Layout(
    to_torch=lambda x: np.roll(CONV.to_torch(x), x.shape[2] // _BRANCHES, axis=1),
    from_torch=lambda x: CONV.from_torch(
        np.roll(x, -(x.shape[1] // _BRANCHES), axis=1)
    ),
)


def _unit(path: str, name: str, kernel: Layout | None = None) -> list[Rule]:
    """Returns the naming rules of the two layers of mmsegmentation's ConvModule."""
    return [
        Rule(f"{path}/conv", f"{name}.conv", kernel),
        Rule(f"{path}/norm", f"{name}.bn"),
    ]


def _fcn(path: str, name: str) -> list[Rule]:
    return [
        *_unit(f"{path}/conv1", f"{name}.convs.0"),
        *_unit(f"{path}/conv2", f"{name}.convs.1"),
        *_unit(f"{path}/conv_concat", f"{name}.conv_cat"),
        Rule(f"{path}/classifier/conv", f"{name}.conv_seg"),
    ]


def _encnet() -> list[Rule]:
    context, name = "head/context", "decode_head.enc_module"
    return [
        *_unit("head/conv", "decode_head.bottleneck"),
        *_unit("head/lateral_stage2", "decode_head.lateral_convs.0"),
        *_unit("head/lateral_stage3", "decode_head.lateral_convs.1"),
        *_unit("head/fusion", "decode_head.fusion"),
        *_unit(f"{context}/project", f"{name}.encoding_project"),
        Rule(f"{context}/encoding", f"{name}.encoding.0"),
        Rule(f"{context}/norm", f"{name}.encoding.1"),
        Rule(f"{context}/attention", f"{name}.fc.0"),
        Rule(f"{context}/presence", "decode_head.se_layer"),
        Rule("head/classifier/conv", "decode_head.conv_seg"),
    ]


def _pspnet() -> list[Rule]:
    pools = [
        _unit(f"head/pool{cells}", f"decode_head.psp_modules.{i}.1")
        for i, cells in enumerate((1, 2, 3, 6))
    ]
    return [
        *sum(pools, []),
        *_unit("head/conv", "decode_head.bottleneck"),
        Rule("head/classifier/conv", "decode_head.conv_seg"),
    ]


def _deeplabv3() -> list[Rule]:
    branches = [
        _unit(f"head/rate{rate}", f"decode_head.aspp_modules.{i}")
        for i, rate in enumerate((1, 12, 24, 36))
    ]
    return [
        *sum(branches, []),
        *_unit("head/image", "decode_head.image_pool.1"),
        *_unit("head/conv", "decode_head.bottleneck", _IMAGE_BRANCH_FIRST),
        Rule("head/classifier/conv", "decode_head.conv_seg"),
    ]


def _rules(model_config) -> list[Rule]:
    spec = specs().get(model_config.backbone)
    if spec and model_config.output_stride < 32 and not spec.bottleneck:
        raise UserError(
            f"model.backbone is {model_config.backbone!r}, whose blocks have a dilated"
            " second convolution here but not in mmsegmentation, so scores would"
            " differ; expected 'resnet50', 'resnet101' or 'resnet152'"
        )
    heads = {
        "encnet": _encnet,
        "fcn": lambda: _fcn("head", "decode_head"),
        "pspnet": _pspnet,
        "deeplabv3": _deeplabv3,
    }
    return [
        *resnet.rules(model_config, "backbone.", resnet.STEM_V1C),
        *heads[model_config.name](),
        *_fcn("aux_head", "auxiliary_head"),
    ]


register(
    Family(
        name="mmseg",
        title="a network of mmsegmentation",
        parts=NETWORK,
        rules=_rules,
        recognises=starting_with("decode_head."),
        prefix="backbone.",
        heads=(
            ("decode_head.enc_module.", "encnet"),
            ("decode_head.aspp_modules.", "deeplabv3"),
            ("decode_head.psp_modules.", "pspnet"),
            ("decode_head.convs.", "fcn"),
        ),
        switches=(
            ("lateral", "decode_head.lateral_convs.", True, False),
            ("se_loss", "decode_head.se_layer.", True, False),
            ("aux", "auxiliary_head.", "fcn", "none"),
        ),
        conventions=(
            ("code_pooling", "mean"),
            ("gate", "residual"),
            ("align_corners", False),
        ),
    )
)

resnet.register_backbones(
    "resnet_v1c",
    "a ResNet-v1c or v1d backbone of OpenMMLab",
    lambda names: {"stem.0.weight", "layer1.0.conv1.weight"} <= names,
    rules=lambda model_config: resnet.rules(model_config, "", resnet.STEM_V1C),
)
