"""Parameter names in weight files of the authors' CIFAR-10 classifiers.

Source: experiments/recognition of PyTorch-Encoding, September 2018.
"""

from encnet_jax.models import cifar_authors
from encnet_jax.torch_weights.names import Family, Rule, register

_RESNET = {
    "norm1": "conv_block.0",
    "conv1": "conv_block.2",
    "norm2": "conv_block.3",
    "conv2": "conv_block.5",
}
_ENCNET = {
    "conv1": "conv1",
    "norm1": "bn1",
    "conv2": "conv2",
    "norm2": "bn2",
    "scaling/project": "se.fc.0",
    "scaling/norm": "se.fc.1",
    "scaling/encoding": "se.fc.3",
    "scaling/attention": "se.fc.6",
}
_ENDS = {
    "stem": "model.0",
    "stem_norm": "model.1",
    "norm": "model.6",
    "classifier": "model.10",
}
_BLOCKS = {
    f"stage{stage}_block{block:02d}": f"model.{stage + 2}.{block - 1}"
    for stage in (1, 2, 3)
    for block in (1, 2)
}


def _rules(model_config) -> list[Rule]:
    if model_config.block != "authors":
        return []  # Some names match those of families with different networks.
    inside = _RESNET if model_config.name == "resnet" else _ENCNET
    inside = inside | {"shortcut": "residual_layer"}
    return [Rule(path, name) for path, name in _ENDS.items()] + [
        Rule(f"{block}/{path}", f"{theirs}.{name}")
        for block, theirs in _BLOCKS.items()
        for path, name in inside.items()
    ]


register(
    Family(
        name="authors_cifar",
        title="a CIFAR-10 classifier of PyTorch-Encoding (the authors' code)",
        parts=(*_ENDS, *_BLOCKS),
        rules=_rules,
        recognises=lambda names: {"model.0.weight", "model.10.weight"} <= names,
        build=cifar_authors.build,
        task="classification",
        heads=(("model.3.0.conv_block.", "resnet"), ("model.3.0.se.", "encnet")),
        conventions=(("block", "authors"),),
        # A network with random smoothing factors stores the last random values.
        left_out=r"model\.\d\.\d\.se\.fc\.3\.scale",
    )
)
