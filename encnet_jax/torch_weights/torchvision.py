"""torchvision's ResNets (and every file with their names), and its segmentation."""

from encnet_jax.torch_weights import resnet
from encnet_jax.torch_weights.names import Family, Rule, register

_ASPP_BRANCHES = ("rate1", "rate12", "rate24", "rate36")


def _recognises(names: set[str]) -> bool:
    return "conv1.weight" in names and "layer1.0.conv1.weight" in names


TORCHVISION = register(
    Family(
        name="torchvision",
        title="a torchvision ResNet",
        parts=("backbone",),
        rules=resnet.rules,
        recognises=_recognises,
        left_out=resnet.IMAGENET_CLASSIFIER,
        look_alikes="timm's resnetaa50, resnetblur50 and similar",
    )
)


def _unit(path: str, name: str, first: int = 0) -> list[Rule]:
    """Names of a convolution and its batch norm: successive modules of a sequence."""
    return [
        Rule(f"{path}/conv", f"{name}.{first}"),
        Rule(f"{path}/norm", f"{name}.{first + 1}"),
    ]


def _fcn(path: str, name: str) -> list[Rule]:
    return [
        *_unit(f"{path}/conv1", name),
        Rule(f"{path}/classifier/conv", f"{name}.4"),
    ]


def _deeplabv3() -> list[Rule]:
    branches = [
        _unit(f"head/{branch}", f"classifier.0.convs.{i}")
        for i, branch in enumerate(_ASPP_BRANCHES)
    ]
    return [
        *sum(branches, []),
        *_unit("head/image", "classifier.0.convs.4", 1),
        *_unit("head/project", "classifier.0.project"),
        *_unit("head/conv", "classifier", 1),
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


TORCHVISION_SEGMENTATION = register(
    Family(
        name="torchvision_segmentation",
        title="a segmentation network of torchvision",
        parts=("backbone", "head", "aux_head"),
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
