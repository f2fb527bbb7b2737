"""Parameter names of torchvision's ResNets and segmentation networks.

Some other projects use the same names for their ResNets.
"""

from encnet_jax.torch_weights import resnet
from encnet_jax.torch_weights.names import NETWORK, Family, Rule, register, unit

_ASPP_BRANCHES = ("rate1", "rate12", "rate24", "rate36")


resnet.register_backbones(
    "torchvision",
    "a torchvision ResNet",
    lambda names: {"conv1.weight", "layer1.0.conv1.weight"} <= names,
    look_alikes="timm's resnetaa50, resnetblur50 and similar",
)


def _fcn(path: str, name: str) -> list[Rule]:
    return [
        *unit(f"{path}/conv1", name),
        Rule(f"{path}/classifier/conv", f"{name}.4"),
    ]


def _deeplabv3() -> list[Rule]:
    branches = [
        unit(f"head/{branch}", f"classifier.0.convs.{i}")
        for i, branch in enumerate(_ASPP_BRANCHES)
    ]
    return [
        *sum(branches, []),
        *unit("head/image", "classifier.0.convs.4", 1),
        *unit("head/project", "classifier.0.project"),
        *unit("head/conv", "classifier", 1),
        Rule("head/classifier/conv", "classifier.4"),
    ]


def _segmentation_rules(model_config) -> list[Rule]:
    heads = {"fcn": lambda: _fcn("head", "classifier"), "deeplabv3": _deeplabv3}
    head = heads.get(model_config.name, list)
    return [
        *resnet.rules(model_config, "backbone."),
        *head(),
        *_fcn("aux_head", "aux_classifier"),
    ]


register(
    Family(
        name="torchvision_segmentation",
        title="a segmentation network of torchvision",
        parts=NETWORK,
        rules=_segmentation_rules,
        recognises=lambda names: (
            {"backbone.conv1.weight", "classifier.4.weight"} <= names
        ),
        prefix="backbone.",
        heads=(("classifier.0.convs.", "deeplabv3"), ("classifier.", "fcn")),
        switches=(("aux", "aux_classifier.", "fcn", "none"),),
        conventions=(("align_corners", False),),
    )
)
