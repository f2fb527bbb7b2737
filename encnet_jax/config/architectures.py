"""Default values of fields such as model.gate for each architecture."""

from typing import Any

from encnet_jax.models import HEADS

_PAPER = {
    "model.stem": "deep",
    "model.stem_width": 64,
    "model.avg_down": False,
    "model.stride_first": False,
    "model.padded_pool": True,
    "model.norm_epsilon": 1e-5,
    "model.frozen_norm": False,
    "model.pixels": "unit",
    "model.align_corners": True,
    "model.head_channels": 512,
    "model.code_pooling": "sum",
    "model.gate": "scale",
    "model.aux": "context",
    "model.lateral": False,
    "model.head_convs": 1,
    "model.head_concat_input": False,
    "model.mask_padding": True,
    "loss.labels": "upsampled",
    "eval.upsampled": "logits",
    "optim.decay_bias": True,
    "optim.clip_element": 0.0,
    "optim.head_lr_multiplier": 1.0,
}
# The paper's network with mean pooling and residual gate as in the released code.
_TUNED = _PAPER | {"model.code_pooling": "mean", "model.gate": "residual"}
_RELEASE = _PAPER | {
    "model.code_pooling": "mean",
    "model.gate": "residual",
    "model.aux": "fcn",
    "model.mask_padding": False,
    "optim.head_lr_multiplier": 10.0,
}
_MMSEG = _RELEASE | {
    "model.stem_width": 32,
    "model.align_corners": False,
    "model.head_convs": 2,
    "model.head_concat_input": True,
    "optim.head_lr_multiplier": 1.0,
}
# The code released with "Understanding Convolution for Semantic Segmentation".
_DUC_RELEASED = _PAPER | {
    "model.stride_first": True,
    "model.padded_pool": False,
    "model.norm_epsilon": 1e-6,
    "model.frozen_norm": True,
    "model.pixels": "mean",
    "model.align_corners": False,
    "model.aux": "none",
    "model.mask_padding": False,
    "loss.labels": "thinned",
    "eval.upsampled": "probabilities",
    "optim.decay_bias": False,
    "optim.clip_element": 5.0,
}
ARCHITECTURES = {
    "tuned": _TUNED,
    "paper": _PAPER,
    "release": _RELEASE,
    "mmseg": _MMSEG,
    "duc_released": _DUC_RELEASED,
}
# Field -> the field whose value it takes if it is not set.
FOLLOWING = {
    "eval.base_size": "data.augment.base_size",
    "eval.crop_size": "data.crop_size",
}
# Deviations of a model from its architecture: the authors' DeepLabV3 is narrower.
_OF_MODEL: dict[tuple[str, str], dict[str, Any]] = {
    (architecture, "deeplabv3"): {"model.head_channels": 256}
    for architecture in ("tuned", "paper", "release")
}


def decided_fields(architecture: str, model_name: str) -> dict[str, Any]:
    """Returns the default values that an architecture sets: {dotted field name: value}.

    Some of these values also depend on the model.

    Args:
        architecture: value of the field `architecture`, a key of ARCHITECTURES.
        model_name: value of the field `model.name`.
    """
    fields: dict[str, Any] = dict(ARCHITECTURES[architecture])
    fields |= _OF_MODEL.get((architecture, model_name), {})
    if model_name in HEADS:
        # Only EncNet has the paper's auxiliary head.
        if model_name != "encnet" and fields["model.aux"] == "context":
            fields["model.aux"] = "none"
        fields |= HEADS.registration(model_name).facts.get("decides", {})
    return fields
