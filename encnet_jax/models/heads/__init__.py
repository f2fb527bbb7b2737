"""Heads: each maps a backbone's stages to a dict of named outputs."""

from encnet_jax.models.heads.deeplabv3 import DeepLabV3Head
from encnet_jax.models.heads.duc import DUCHead
from encnet_jax.models.heads.encnet import ContextAuxHead, EncHead
from encnet_jax.models.heads.fcn import FCNHead
from encnet_jax.models.heads.pspnet import PSPHead

__all__ = [
    "ContextAuxHead",
    "DUCHead",
    "DeepLabV3Head",
    "EncHead",
    "FCNHead",
    "PSPHead",
]
