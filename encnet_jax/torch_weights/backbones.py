"""Families of the weight files that registered backbones declare.

A backbone's registration lists them under `weight_files`, each a dict of

    family, title: see Family.
    recognised_by: names that every file has.
    names: {path of a module below 'backbone/', a regular expression: its name in the
        file}, see Rule.
    flattened: {path: k}: the kernel is a fully connected layer of k x k positions.
    left_out: regular expression of names that no model has.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from encnet_jax.models import BACKBONES
from encnet_jax.torch_weights.names import CONV, Family, Layout, Rule


def flattened(size: int) -> Layout:
    """Returns the layout of a k x k kernel that is a fully connected layer in PyTorch.

    Args:
        size: k.
    """
    return Layout(
        to_torch=lambda x: CONV.to_torch(x).reshape(x.shape[3], -1),
        from_torch=lambda x: CONV.from_torch(x.reshape(len(x), -1, size, size)),
    )


def families() -> Iterator[Family]:
    """Yields the families of all registered backbones."""
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
