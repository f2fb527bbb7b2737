"""Recognises the family (naming scheme) of a state dict by the names of its arrays.

The module also compares the model of a state dict with a configuration.
"""

import importlib
import pkgutil
from collections.abc import Iterable, Mapping

from encnet_jax import torch_weights
from encnet_jax.errors import UserError
from encnet_jax.torch_weights import backbones, resnet
from encnet_jax.torch_weights.names import FAMILIES, Family


def known() -> tuple[Family, ...]:
    """Returns all families (naming schemes), including those that backbones declare.

    The function imports every module of this folder, because each module registers
    its families on import.
    """
    for module in pkgutil.iter_modules(torch_weights.__path__):
        if not module.name.startswith("__"):
            importlib.import_module(f"{torch_weights.__name__}.{module.name}")
    registered = (FAMILIES.get(name) for name in FAMILIES)
    return (*registered, *backbones.families())


def find(name: str) -> Family:
    """Returns the family (naming scheme of state dicts) called `name`.

    Raises:
        UserError: no family has this name.
    """
    for family in known():
        if family.name == name:
            return family
    names = ", ".join(f.name for f in known())
    raise UserError(f"unknown family of weights {name!r}; expected one of: {names}")


def is_known(names: Iterable[str]) -> bool:
    """Returns whether array names belong to a known family (naming scheme)."""
    found = set(names)
    return any(family.recognises(found) for family in known())


def recognise(state_dict: Mapping[str, object]) -> Family:
    """Returns the family (naming scheme) to which the names of a state dict belong.

    Raises:
        UserError: the names belong to no family; the message lists up to five names.
    """
    names = set(state_dict)
    for family in known():
        if family.recognises(names):
            return family
    some = ", ".join(name[:80] for name in sorted(names)[:5]) or "nothing"
    titles = "; ".join(f.title for f in known())
    raise UserError(
        f"the array names (first: {some}) are those of no supported project; expected"
        f" weights of one of: {titles}"
    )


def differences(
    shapes: Mapping[str, tuple[int, ...]], family: Family, model_config
) -> list[str]:
    """Compares the model of a state dict with the configured model.

    Args:
        shapes: {name: shape} of the state dict's arrays.
        family: family of the state dict.
        model_config: section `model` of the resolved configuration.

    Returns:
        One sentence for each field that differs. A field is compared only if the state
        dict or the conventions of the family determine the field's value.
    """
    found = (family.fields or resnet.fields)(dict(shapes), family.prefix)
    if family.heads:
        found |= dict(family.conventions)
        found["name"] = next(
            (name for start, name in family.heads if _occurs(start, shapes)), "another"
        )
        for field, start, if_there, if_not in family.switches:
            if _occurs(start, shapes):
                found[field] = if_there
            else:
                found.setdefault(field, if_not)
    # Only this package has this auxiliary head, and has it with both conventions.
    if found.get("aux") == "context":
        found = {k: v for k, v in found.items() if k not in ("code_pooling", "gate")}
    if found.get("name") != "encnet":
        for field in ("lateral", "se_loss", "code_pooling", "gate"):
            found.pop(field, None)
    return [
        f"model.{field} is {model_config[field]!r}, but these weights are for {value!r}"
        for field, value in sorted(found.items())
        if model_config[field] != value
    ]


def _occurs(start: str, names: Mapping[str, object]) -> bool:
    return any(name.startswith(start) for name in names)
