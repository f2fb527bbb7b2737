"""Parameter names of timm's ResNet-D (deep stem, average-pooled shortcuts)."""

from encnet_jax.torch_weights import resnet

resnet.register_backbones(
    "resnet_d",
    "a ResNet-D of timm (average-pooled shortcuts)",
    lambda names: {"conv1.0.weight", "layer2.0.downsample.2.weight"} <= names,
    look_alikes="timm's resnetaa50d, resnetblur50d and similar",
)
