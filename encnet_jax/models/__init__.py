"""Builds networks from a configuration. Importing this package does not load JAX."""

from __future__ import annotations

from typing import TYPE_CHECKING

from encnet_jax.models.backbones import BACKBONES
from encnet_jax.models.heads import AUX_HEADS, HEADS
from encnet_jax.registry import imported

if TYPE_CHECKING:
    from flax import linen as nn

__all__ = (
    "AUX_HEADS",
    "BACKBONES",
    "CLASSIFIERS",
    "HEADS",
    "build",
    "build_classifier",
)

CLASSIFIERS = ("resnet", "se_resnet", "encnet")  # Built by models.cifar.


def logits_stride(model_config) -> float:
    """Returns the distance between neighbouring logits, in image pixels.

    An image of H x W pixels has logits at h x w positions, where

        h = ceil(H / logits_stride)
        w = ceil(W / logits_stride)

    The distance is `output_stride`, the stride of the backbone's last feature map,
    except for a DUC head, which predicts logits on a finer grid, and for a piecewise
    CRF, which can enlarge the image or refine the logits.

    Args:
        model_config: `config.model` after `encnet_jax.config.resolve`.
    """
    facts = HEADS.registration(model_config.name).facts
    stride = facts.get("logits_stride")
    return stride(model_config) if stride else model_config.output_stride


def build(model_config, num_classes: int, axis_name: str | None = None) -> nn.Module:
    """Builds a segmentation network.

    Args:
        model_config: `config.model` after `encnet_jax.config.resolve` (no field is
            None).
        num_classes: number of classes.
        axis_name: pmap axis over which batch norms are synchronised, in groups of
            `model_config.norm_group` devices (0: all devices); None for one device.

    Returns:
        A segmenter.Segmenter or, for the head 'piecewise_crf', a
        heads.piecewise_crf.PiecewiseCRF.

    Raises:
        UserError: the head, the auxiliary head or the backbone is unknown.

    Source: Figures 2 and 3 of the paper.
    """
    m = model_config
    make_network = imported(
        HEADS.registration(m.name).facts.get(
            "network", "encnet_jax.models.segmenter:build"
        )
    )
    backbone = BACKBONES.get(m.backbone)(m)
    head = HEADS.get(m.name)(m, num_classes)
    aux = None if m.aux == "none" else AUX_HEADS.get(m.aux)(m, num_classes)
    return make_network(m, backbone, head, aux, axis_name)


def build_classifier(
    model_config, num_classes: int, axis_name: str | None = None
) -> nn.Module:
    """Builds an image classifier for pre-training a backbone.

    Args:
        model_config, num_classes, axis_name: see `build`.

    Returns:
        A classifier.Classifier: backbone, global average pooling and linear layer.
    """
    from encnet_jax.models import classifier, segmenter  # These modules load JAX.

    backbone = BACKBONES.get(model_config.backbone)(model_config)
    shared = segmenter.shared_fields(model_config, axis_name)
    return classifier.Classifier(backbone, num_classes, **shared)
