"""Parameter names of PyTorch ResNets; projects mainly name the stem differently."""

import itertools
from collections.abc import Callable, Collection
from functools import partial

from encnet_jax.models.backbones.resnet import specs
from encnet_jax.torch_weights.names import Family, Rule, register

# For each layer of the stem: (name of the convolution, name of the batch norm).
STEM_CONV7 = (("conv1", "bn1"),)
STEM_DEEP = (("conv1.0", "conv1.1"), ("conv1.3", "conv1.4"), ("conv1.6", "bn1"))
STEM_V1C = (("stem.0", "stem.1"), ("stem.3", "stem.4"), ("stem.6", "stem.7"))
IMAGENET_CLASSIFIER = r"fc\.(weight|bias)"


def rules(
    model_config, prefix: str = "", deep_stem: tuple[tuple[str, str], ...] = STEM_DEEP
) -> list[Rule]:
    """Returns the naming rules of a ResNet backbone.

    Args:
        model_config: section `model` of the resolved configuration; its fields `stem`
            and `avg_down` affect the names.
        prefix: prefix of every name.
        deep_stem: names of the deep stem's layers, as pairs (convolution, batch norm).
    """
    stem = deep_stem if model_config.stem == "deep" else STEM_CONV7
    found = []
    for i, (conv, norm) in enumerate(stem, 1):
        found.append(Rule(f"backbone/stem/layer{i}/conv", prefix + conv))
        found.append(Rule(f"backbone/stem/layer{i}/norm", prefix + norm))
    # In a piecewise CRF, the last stages of all scales are initialised from the same
    # weights.
    block = r"backbone/(?:scale\d_)?stage(?P<stage>\d)_block(?P<block>\d+)/"
    name = prefix + "layer{stage}.{block}."
    # The pooling layer has no weights, but an index in PyTorch's sequence.
    first = 1 if model_config.avg_down else 0
    return [
        *found,
        Rule(block + r"conv(?P<i>\d)", name + "conv{i}"),
        Rule(block + r"norm(?P<i>\d)", name + "bn{i}"),
        Rule(block + "shortcut_conv", f"{name}downsample.{first}"),
        Rule(block + "shortcut_norm", f"{name}downsample.{first + 1}"),
    ]


def register_backbones(
    name: str,
    title: str,
    recognises: Callable[[set[str]], bool],
    *,
    rules: Callable[..., list[Rule]] = rules,
    look_alikes: str = "",
) -> None:
    """Registers a family (naming scheme of weight files) of ResNets without heads.

    Args:
        name, title, recognises, rules, look_alikes: attributes of Family.
    """
    register(
        Family(
            name,
            title,
            ("backbone",),
            rules,
            recognises,
            left_out=IMAGENET_CLASSIFIER,
            look_alikes=look_alikes,
        )
    )


def fields(shapes: dict[str, tuple[int, ...]], prefix: str = "") -> dict[str, object]:
    """Derives fields of section `model` from the arrays of a ResNet backbone.

    Args:
        shapes: {name: shape} of a state dict's arrays.
        prefix: prefix of the names of the backbone's arrays.

    Returns:
        {field: value} for 'stem', 'stem_width', 'avg_down' and 'backbone'; fields that
        the arrays do not determine are omitted.
    """
    found: dict[str, object] = {}
    for stem, first in (("deep", "conv1.0"), ("deep", "stem.0"), ("conv7", "conv1")):
        shape = shapes.get(f"{prefix}{first}.weight")
        if shape is not None:
            found |= {"stem": stem, "stem_width": shape[0]}
    names = shapes.keys()
    if any(".downsample." in name for name in names):
        pooled = f"{prefix}layer2.0.downsample.2.weight"
        found["avg_down"] = pooled in names
    template = prefix + "layer{}.{}.conv1.weight"
    counts = [
        num_in_row(names, partial(template.format, stage)) for stage in range(1, 5)
    ]
    bottleneck = f"{prefix}layer1.0.conv3.weight" in names
    width = shapes.get(f"{prefix}layer1.0.conv2.weight", (0,))[0]
    return found | named_backbone(counts, bottleneck, width)


def num_in_row(names: Collection[str], name: Callable[[int], str]) -> int:
    """Counts name(0), name(1), ... before the first name that is not in `names`."""
    return next(i for i in itertools.count() if name(i) not in names)


def named_backbone(counts: list[int], bottleneck: bool, width: int) -> dict[str, str]:
    """Returns {'backbone': name} of the ResNet with these properties; {} if unknown.

    Args:
        counts: numbers of blocks of the four stages.
        bottleneck: whether the blocks are bottlenecks.
        width: output channels of the first block's 3x3 convolution.
    """
    for name, spec in specs().items():
        if spec == (tuple(counts), bottleneck, width):
            return {"backbone": name}
    return {}
