"""The registry of backbones. Importing this package does not load JAX.

A backbone maps images to a dict of feature maps, 'stage1' to 'stage4'. Each module of
this folder registers its backbones:

    @BACKBONES.register("vgg16", blocks=(3, 3, 3, 1), channels=(256, 512, 512, 512))
    def build(model_config): ...

The function `build` returns a constructor of the backbone, which is called with
`layers` and `name`. A registration declares

    blocks: number of dilation rates that `model.dilation` may list for each stage.
    channels: channels of each stage, or a function model_config -> channels.
    early: {name: (channels, stride)} of feature maps before stage 1, if there are any.
    fields: configuration fields that only this backbone reads.
    weight_files: names of the parameters in other projects' weight files; see
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
    """Returns how many dilation rates each stage of a backbone has.

    Args:
        backbone: name in BACKBONES.
    """
    return BACKBONES.registration(backbone).facts["blocks"]


def feature_info(model_config) -> dict[str, Feature]:
    """Returns channels and stride of each feature map of a backbone, by name.

    Feature maps are in the order in which they are computed; the last is 'stage4'.

    Args:
        model_config: `config.model`. Stages whose stride would exceed
            model_config.output_stride keep the resolution of their input.
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
