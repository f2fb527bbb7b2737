"""The registry of backbones. Importing this package does not load JAX.

A backbone maps images to a dict of feature maps, 'stage1' to 'stage4'. Each module of
this folder registers its backbones:

    @BACKBONES.register("vgg16", blocks=(3, 3, 3, 1), channels=(256, 512, 512, 512))
    def build(model_config): ...

The function `build` returns a constructor, which the network calls with `layers` and
`name`. A registration declares

    blocks: for each stage, the number of dilation rates that `model.dilation` can list.
    channels: channels of each stage, or a function model_config -> channels.
    early: optional; {name: (channels, stride)} of feature maps before stage 1.
    fields: optional; configuration fields that only this backbone reads.
    weight_files: optional; names of the parameters in other projects' weight files, see
        encnet_jax.torch_weights.backbones.
"""

from collections.abc import Sequence
from typing import NamedTuple

from encnet_jax.registry import Registry, discover

BACKBONES: Registry = Registry("backbone")
discover(__name__, __path__[0], BACKBONES=BACKBONES)

_STRIDES = (4, 8, 16, 32)


class Feature(NamedTuple):
    """Channels and stride of a feature map; the stride is in image pixels."""

    channels: int
    stride: int


def blocks(backbone: str) -> Sequence[int]:
    """Returns the number of dilation rates of each stage of a backbone.

    Args:
        backbone: name in BACKBONES.
    """
    return BACKBONES.registration(backbone).facts["blocks"]


def feature_info(model_config) -> dict[str, Feature]:
    """Returns {name: channels and stride} of the feature maps of a backbone.

    Feature maps are in the order in which they are computed; the last is 'stage4'.
    Stages whose stride would exceed model_config.output_stride keep the resolution of
    their input.

    Args:
        model_config: `config.model`.
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
