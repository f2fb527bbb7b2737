"""torchvision's ResNets (and every file that keeps its names, as timm's resnet50)."""

from encnet_jax.torch_weights import resnet
from encnet_jax.torch_weights.names import Family


def _recognises(names: set[str]) -> bool:
    return "conv1.weight" in names and "layer1.0.conv1.weight" in names


TORCHVISION = Family(
    name="torchvision",
    title="a torchvision ResNet",
    parts=("backbone",),
    rules=resnet.rules,
    recognises=_recognises,
    left_out=resnet.IMAGENET_CLASSIFIER,
)
