"""Models by name; they take plain fields and never see the whole configuration."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax.numpy as jnp

from encnet_jax.models import heads
from encnet_jax.models.classifier import Classifier
from encnet_jax.models.resnet import BACKBONES, ResNet
from encnet_jax.models.segmenter import Segmenter

HEADS = ("encnet", "fcn", "pspnet", "deeplabv3")


def build(model_config, num_classes: int, axis_name: str | None = None) -> nn.Module:
    """Builds a segmentation network.

    Args:
        model_config: `config.model` after `encnet_jax.config.resolve` (no field is
            None).
        num_classes: C.
        axis_name: pmap axis over which batch norms are synchronised; None for one
            device.

    Returns:
        A module with `apply(variables, images, train=...) -> dict`, see Segmenter.

    Source: Figures 2 and 3 of the paper.
    """
    m = model_config
    return Segmenter(
        backbone=_backbone(m),
        head=_head(m, num_classes),
        aux_head=_aux_head(m, num_classes),
        axis_name=axis_name,
        dtype=jnp.dtype(m.dtype),
    )


def build_classifier(
    model_config, num_classes: int, axis_name: str | None = None
) -> nn.Module:
    """Builds a backbone with a linear classifier; see build and Classifier."""
    return Classifier(
        backbone=_backbone(model_config),
        num_classes=num_classes,
        axis_name=axis_name,
        dtype=jnp.dtype(model_config.dtype),
    )


def _backbone(m) -> Callable[..., nn.Module]:
    return partial(
        ResNet,
        BACKBONES[m.backbone],
        stem=m.stem,
        stem_width=m.stem_width,
        output_stride=m.output_stride,
        avg_down=m.avg_down,
        remat=m.remat,
    )


def _head(m, num_classes: int) -> Callable[..., nn.Module]:
    fields = {"channels": m.head_channels, "dropout": m.dropout}
    if m.name == "encnet":
        head = partial(
            heads.EncHead,
            lateral=m.lateral,
            num_codes=m.num_codes,
            code_pooling=m.code_pooling,
            gate=m.gate,
            se_loss=m.se_loss,
        )
    elif m.name == "fcn":
        head = partial(
            heads.FCNHead, num_convs=m.head_convs, concat_input=m.head_concat_input
        )
    elif m.name == "pspnet":
        head = partial(heads.PSPHead, align_corners=m.align_corners)
    else:
        head = partial(heads.DeepLabV3Head, concat_input=m.head_concat_input)
    return partial(head, num_classes, **fields)


def _aux_head(m, num_classes: int) -> Callable[..., nn.Module] | None:
    if m.aux == "fcn":
        return partial(
            heads.FCNHead,
            num_classes,
            stage="stage3",
            channels=m.aux_channels,
            dropout=m.dropout,
        )
    # The SE branch is all that this auxiliary head has.
    if m.aux == "context" and m.se_loss:
        return partial(
            heads.ContextAuxHead,
            num_classes,
            channels=m.aux_channels,
            num_codes=m.num_codes,
            code_pooling=m.code_pooling,
        )
    return None
