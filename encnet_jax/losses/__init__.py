"""Losses: each term is a sum divided by its own count over all devices."""

from encnet_jax.losses.classification import classification_loss
from encnet_jax.losses.cross_entropy import upsampled_cross_entropy
from encnet_jax.losses.labels import (
    class_presence,
    node_labels,
    thinned_labels,
)
from encnet_jax.losses.piecewise import piecewise_loss
from encnet_jax.losses.segmentation import PixelOptions, segmentation_loss

__all__ = [
    "PixelOptions",
    "class_presence",
    "classification_loss",
    "node_labels",
    "piecewise_loss",
    "segmentation_loss",
    "thinned_labels",
    "upsampled_cross_entropy",
]
