"""Families (naming schemes of weight files) that registered backbones declare.

A backbone can be registered with the key `weight_files`, a list of families. Each
family is a dict with these keys:

    family, title: the attributes `name` and `title` of Family.
    recognised_by: parameter names that every file of the family contains.
    names: {pattern: name}, where the regular expression `pattern` matches a module's
        path below 'backbone/', and `name` is the module's name in the file; see Rule.
    flattened: {pattern: k} for k x k kernels that the file stores as weights of a
        fully connected layer; the patterns are keys of `names`. Optional.
    left_out: regular expression; matching names in the file are ignored. Optional.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from encnet_jax.models import BACKBONES
from encnet_jax.torch_weights.names import CONV, Family, Layout, Rule


def flattened(size: int) -> Layout:
    """Returns the layout of a k x k kernel that PyTorch stores as a matrix.

    Args:
        size: height and width k of the kernel.
    """
    return Layout(
        to_torch=lambda x: CONV.to_torch(x).reshape(x.shape[3], -1),
        from_torch=lambda x: CONV.from_torch(x.reshape(len(x), -1, size, size)),
    )


def families() -> Iterator[Family]:
    """Yields the families that all registered backbones declare."""
    for backbone in BACKBONES:
        for declared in BACKBONES.registration(backbone).facts.get("weight_files", ()):
            yield _family(backbone, declared)


def _family(backbone: str, declared: Mapping[str, Any]) -> Family:
    sizes = declared.get("flattened", {})
    rules = [
        Rule(
            f"backbone/{ours}",
            theirs,
            flattened(sizes[ours]) if ours in sizes else None,
        )
        for ours, theirs in declared["names"].items()
    ]
    return Family(
        name=declared["family"],
        title=declared["title"],
        parts=("backbone",),
        rules=partial(_rules, rules=rules),
        recognises=set(declared["recognised_by"]).issubset,
        fields=lambda shapes, prefix: {"backbone": backbone},
        left_out=declared.get("left_out", r"(?!)"),
    )


def _rules(model_config, rules: list[Rule]) -> list[Rule]:
    return rules
