"""What a configuration may name: networks and protocols, without importing them.

Checking a value needs only these words. Importing the networks for them would load JAX
before a mistyped flag is reported; tests hold the lists equal to what is built.
"""

ARCHITECTURES = (  # config.architectures
    "tuned",
    "paper",
    "release",
    "mmseg",
    "duc_released",
)
HEADS = (  # encnet_jax.models
    "encnet",
    "fcn",
    "pspnet",
    "deeplabv3",
    "duc",
    "piecewise_crf",
)
PIXELS = ("unit", "mean")  # encnet_jax.preprocess
CRF_FEATURES = ("plain", "pyramid", "scales")  # encnet_jax.models.piecewise_crf
CRF_PAIRWISE = ("none", "surrounding", "above_below", "both")
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
