"""Models by name; they take plain fields and never see the whole configuration."""

import flax.linen as nn
import jax.numpy as jnp

from encnet_jax.models import heads
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
    shared = {"axis_name": axis_name, "dtype": jnp.dtype(m.dtype)}
    backbone = ResNet(
        spec=BACKBONES[m.backbone],
        stem=m.stem,
        stem_width=m.stem_width,
        output_stride=m.output_stride,
        avg_down=m.avg_down,
        remat=m.remat,
        **shared,
    )
    return Segmenter(
        backbone=backbone,
        head=_head(m, num_classes, shared),
        head_input="stages" if m.name == "encnet" else "stage4",
        aux_head=_aux_head(m, num_classes, shared),
        aux_output="se_logits" if m.aux == "context" else "logits",
        dtype=shared["dtype"],
    )


def _head(m, num_classes: int, shared: dict) -> nn.Module:
    common = {"dropout": m.dropout, "channels": m.head_channels, **shared}
    if m.name == "encnet":
        return heads.EncHead(
            num_classes,
            lateral=m.lateral,
            num_codes=m.num_codes,
            code_pooling=m.code_pooling,
            gate=m.gate,
            se_loss=m.se_loss,
            **common,
        )
    if m.name == "fcn":
        return heads.FCNHead(
            num_classes,
            num_convs=m.head_convs,
            concat_input=m.head_concat_input,
            **common,
        )
    if m.name == "pspnet":
        return heads.PSPHead(num_classes, align_corners=m.align_corners, **common)
    return heads.DeepLabV3Head(num_classes, concat_input=m.head_concat_input, **common)


def _aux_head(m, num_classes: int, shared: dict) -> nn.Module | None:
    if m.aux == "fcn":
        return heads.FCNHead(
            num_classes, channels=m.aux_channels, dropout=m.dropout, **shared
        )
    # The SE branch is all that this auxiliary head has.
    if m.aux == "context" and m.se_loss:
        return heads.ContextAuxHead(
            num_classes,
            channels=m.aux_channels,
            num_codes=m.num_codes,
            code_pooling=m.code_pooling,
            **shared,
        )
    return None
