"""timm's ResNet-D: deep stem, average pooling before the shortcut's convolution."""

from encnet_jax.torch_weights import resnet
from encnet_jax.torch_weights.names import Family, register


def _recognises(names: set[str]) -> bool:
    return "conv1.0.weight" in names and "layer2.0.downsample.2.weight" in names


RESNET_D = register(
    Family(
        name="resnet_d",
        title="a ResNet-D of timm (average-pooled shortcuts)",
        parts=("backbone",),
        rules=resnet.rules,
        recognises=_recognises,
        left_out=resnet.IMAGENET_CLASSIFIER,
        look_alikes="timm's resnetaa50d, resnetblur50d and similar",
    )
)
