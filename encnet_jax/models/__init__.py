"""Models by name; they take plain fields and never see the whole configuration."""

from collections.abc import Callable
from functools import partial

import flax.linen as nn
import jax.numpy as jnp

from encnet_jax.models import heads, piecewise_crf
from encnet_jax.models.classifier import Classifier
from encnet_jax.models.norm import GroupedAxis
from encnet_jax.models.resnet import BACKBONES, ResNet
from encnet_jax.models.segmenter import Segmenter

HEADS = ("encnet", "fcn", "pspnet", "deeplabv3", "duc", "piecewise_crf")


def logits_stride(model_config) -> float:
    """Returns the image pixels between neighbouring logits, along rows and columns.

    What follows the network asks for this rather than for `output_stride`, which
    is the featuremap's: a DUC head predicts on a finer grid, and a piecewise CRF sees
    the image enlarged. Sides of the logits are those of the image divided by it,
    rounded up.

    Args:
        model_config: `config.model`, resolved.
    """
    m = model_config
    if m.name == "piecewise_crf":
        scales, _ = piecewise_crf.FEATURES[m.crf.features]
        return m.output_stride / scales[0]
    return m.duc.cell if m.name == "duc" else m.output_stride


def build(model_config, num_classes: int, axis_name: str | None = None) -> nn.Module:
    """Builds a segmentation network.

    Args:
        model_config: `config.model` after `encnet_jax.config.resolve` (no field is
            None).
        num_classes: C.
        axis_name: pmap axis over which batch norms are synchronised, in groups of
            model_config.norm_group devices; None for one device.

    Returns:
        A module with `apply(variables, images, train=...) -> dict`, see Segmenter and
        piecewise_crf.PiecewiseCRF.

    Source: Figures 2 and 3 of the paper.
    """
    m = model_config
    backbone, shared = _backbone(m), _shared(m, axis_name)
    if m.name == "piecewise_crf":
        return _piecewise_crf(m, num_classes, backbone, shared)
    return Segmenter(
        backbone, _head(m, num_classes), _aux_head(m, num_classes), **shared
    )


def _piecewise_crf(m, num_classes: int, backbone: Callable, shared: dict) -> nn.Module:
    scales, windows = piecewise_crf.FEATURES[m.crf.features]
    head = partial(
        piecewise_crf.PotentialsHead,
        num_classes,
        channels=m.head_channels,
        hidden_channels=m.crf.hidden_channels,
        windows=windows,
        relations=piecewise_crf.PAIRWISE[m.crf.pairwise],
        dropout=m.dropout,
        align_corners=m.align_corners,
    )
    return piecewise_crf.PiecewiseCRF(
        backbone,
        head,
        scales=scales,
        output_stride=m.output_stride,
        box=m.crf.box,
        num_updates=m.crf.num_updates,
        max_score_mib=m.crf.max_score_mib,
        **shared,
    )


def build_classifier(
    model_config, num_classes: int, axis_name: str | None = None
) -> nn.Module:
    """Builds a backbone with a linear classifier; see build and Classifier."""
    shared = _shared(model_config, axis_name)
    return Classifier(_backbone(model_config), num_classes, **shared)


def _shared(m, axis_name: str | None) -> dict:
    return {
        "axis_name": axis_name and GroupedAxis(axis_name, m.norm_group),
        "norm_epsilon": m.norm_epsilon,
        "frozen_norm": m.frozen_norm,
        "dtype": jnp.dtype(m.dtype),
    }


def _backbone(m) -> Callable[..., nn.Module]:
    return partial(
        ResNet,
        BACKBONES[m.backbone],
        stem=m.stem,
        stem_width=m.stem_width,
        output_stride=m.output_stride,
        dilation=m.dilation,
        avg_down=m.avg_down,
        stride_first=m.stride_first,
        padded_pool=m.padded_pool,
        remat=m.remat,
    )


def _head(m, num_classes: int) -> Callable[..., nn.Module]:
    if m.name == "duc":
        block = m.output_stride // m.duc.cell
        return partial(
            heads.DUCHead, num_classes, block=block, rates=tuple(m.duc.rates)
        )
    fields = {"channels": m.head_channels, "dropout": m.dropout}
    if m.name == "encnet":
        head = partial(
            heads.EncHead,
            lateral=m.lateral,
            num_codes=m.num_codes,
            code_pooling=m.code_pooling,
            gate=m.gate,
            gate_bias=m.gate_bias,
            se_loss=m.se_loss,
            se_gradient=m.se_gradient,
            reference_positions=m.reference_positions or 0,
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
            se_gradient=m.se_gradient,
            reference_positions=m.reference_positions or 0,
        )
    return None
