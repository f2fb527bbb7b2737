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
PIXELS = ("unit", "mean")  # encnet_jax.preprocess
CLASSIFIERS = ("resnet", "se_resnet", "encnet")  # encnet_jax.models.cifar
