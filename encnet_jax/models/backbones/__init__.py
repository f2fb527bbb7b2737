"""The registry of backbones. Importing this package does not load JAX.

A backbone maps images to a dict of feature maps, 'stage1' to 'stage4'. Each module of
this folder registers its backbones:

    @BACKBONES.register("vgg16", blocks=(3, 3, 3, 1), channels=(256, 512, 512, 512))
    def build(model_config): ...

The function `build` returns a constructor of the backbone. The network calls the
constructor with `layers` (see models.layers.Layers) and `name`. The arguments of
`register`, after the name of the backbone, are

    blocks: number of dilation rates of each stage.
    channels: channels of each stage, or a function that returns these numbers for a
        `config.model`.
    early: optional; {name: (channels, stride)} of feature maps before stage 1.
    fields: optional; configuration fields that only this backbone reads.
    weight_files: optional; names of the parameters in weight files of other projects;
        see encnet_jax.torch_weights.backbones.
"""

from collections.abc import Sequence
from typing import NamedTuple

from encnet_jax.registry import Registry, discover

BACKBONES: Registry = Registry("backbone")
discover(__name__, __path__[0], BACKBONES=BACKBONES)

_STRIDES = (4, 8, 16, 32)


class Feature(NamedTuple):
    """The number of channels and the stride, in image pixels, of a feature map."""

    channels: int
    stride: int


def blocks(backbone: str) -> Sequence[int]:
    """Returns the number of dilation rates in each of the four stages of a backbone.

    Args:
        backbone: name in BACKBONES.
    """
    return BACKBONES.registration(backbone).facts["blocks"]


def feature_info(model_config) -> dict[str, Feature]:
    """Returns the channels and the stride of each feature map of a backbone.

    Args:
        model_config: `config.model`.

    Returns:
        {name: Feature} in the order of computation; the last name is 'stage4'. No
        stride exceeds `model_config.output_stride`.
    """
    m = model_config
    facts = BACKBONES.registration(m.backbone).facts
    channels = facts["channels"]
    channels = channels(m) if callable(channels) else channels
    early = {name: Feature(*x) for name, x in facts.get("early", {}).items()}
    return early | {
        f"stage{i}": Feature(count, min(stride, m.output_stride))
        for i, (count, stride) in enumerate(zip(channels, _STRIDES, strict=True), 1)
    }
