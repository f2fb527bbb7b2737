"""What a configuration may name: networks and protocols, without importing them.

Checking a value needs only these words. Importing the networks for them would load JAX
before a mistyped flag is reported; tests hold the lists equal to what is built.
"""

ARCHITECTURES = ("tuned", "paper", "release", "mmseg")  # encnet_jax.config
HEADS = ("encnet", "fcn", "pspnet", "deeplabv3")  # encnet_jax.models
CLASSIFIERS = ("resnet", "se_resnet", "encnet")  # encnet_jax.models.cifar
BACKBONES = (  # encnet_jax.models.resnet
    "tiny",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
)
PROTOCOLS = ("single", "multiscale", "release", "centre_crop")  # scoring.protocols
