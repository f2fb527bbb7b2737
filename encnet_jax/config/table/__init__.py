"""The table of fields: default, allowed values and meaning of every field."""

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

from encnet_jax.config.architectures import ARCHITECTURES
from encnet_jax.config.table.data import DataConfig
from encnet_jax.config.table.eval import PROTOCOLS, EvalConfig
from encnet_jax.config.table.loss import LossConfig
from encnet_jax.config.table.model import ModelConfig
from encnet_jax.config.table.optim import OptimConfig
from encnet_jax.config.table.train import TrainConfig
from encnet_jax.fields import (
    COUNT,
    FLAG,
    TEXT,
    Field,
    Section,
    declared,
    field,
    group,
    one_of,
)
from encnet_jax.losses import LOSSES
from encnet_jax.models import AUX_HEADS, BACKBONES, HEADS
from encnet_jax.registry import Registry


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Section):
    """The configuration of a run."""

    task: str = field(
        "segmentation",
        one_of("segmentation", "classification"),
        "'segmentation' labels pixels; 'classification' labels whole images.",
    )
    architecture: str = field(
        "tuned",
        one_of(*ARCHITECTURES),
        "Variant of the networks; sets fields such as model.gate, unless a file or a"
        " flag sets them.",
    )
    seed: int = field(
        0, COUNT, "Seed of initial weights, data order, augmentation and dropout."
    )
    init_from: str = field(
        "",
        TEXT,
        "Initial weights: a name that `encnet weights list` prints, 'imagenet' (the"
        " preferred ImageNet weights for the backbone), a weight file, or the workdir"
        " of a run; empty: random.",
    )
    init_skip: str = field(
        "",
        TEXT,
        "Comma-separated modules, such as 'head/classifier,aux_head'. Their parameters"
        " are initialised randomly if init_from has none or has other shapes.",
    )
    profile: bool = field(
        False,
        FLAG,
        "Write a trace of ten steps to WORKDIR/plugins/profile and print the devices'"
        " idle time.",
    )
    data: DataConfig = group(DataConfig)
    model: ModelConfig = group(ModelConfig)
    loss: LossConfig = group(LossConfig)
    optim: OptimConfig = group(OptimConfig)
    train: TrainConfig = group(TrainConfig)
    eval: EvalConfig = group(EvalConfig)


STATIC_FIELDS = frozenset(declared(Config))  # Without fields of registered members.
# Field that selects a member -> registry whose members may declare further fields. A
# key that ends with '.' is a section, in which all members are in use.
REGISTRIES: dict[str, Registry] = {
    "model.name": HEADS,
    "model.aux": AUX_HEADS,
    "model.backbone": BACKBONES,
    "loss.": LOSSES,
    "eval.protocol": PROTOCOLS,
}


def fields() -> dict[str, Field]:
    """Returns all fields, also those of heads and losses: {dotted name: field}."""
    found = declared(Config)
    for registry in REGISTRIES.values():
        for member in registry:
            found |= registry.registration(member).fields
    return found


def unread_fields(values: Mapping[str, Any]) -> set[str]:
    """Returns the dotted names of fields that have no effect.

    These fields belong only to heads, protocols etc. that are not selected.

    Args:
        values: {dotted field name: value}.
    """
    found: set[str] = set()
    read: set[str] = set()
    for field_name, registry in REGISTRIES.items():
        for member in registry:
            named = field_name.endswith(".") or values.get(field_name) == member
            (read if named else found).update(registry.registration(member).fields)
    return found - read


def sections() -> dict[str, str]:
    """Returns the sections and nested groups of fields: {dotted name: meaning}.

    The name of the whole configuration is ''.
    """
    found = _sections(Config, "")
    for registry in REGISTRIES.values():
        for member in registry:
            for name in registry.registration(member).fields:
                group_name = name.rpartition(".")[0]
                doc = f"Fields that only the {registry.kind} {member!r} reads."
                found.setdefault(group_name, doc)
    order = list(found)
    return dict(sorted(found.items(), key=lambda x: order.index(x[0].split(".")[0])))


def _sections(section: type, name: str) -> dict[str, str]:
    found = {name: (section.__doc__ or "").strip()}
    for each in dataclasses.fields(section):
        if dataclasses.is_dataclass(each.type):
            inner = f"{name}.{each.name}".strip(".")
            found |= _sections(each.type, inner)  # type: ignore[arg-type]
    return found


def unknown(name: str) -> str:
    """Returns the message for an unknown field name; suggests the most similar name."""
    known = [*fields()]
    ends = {x.rsplit(".", 1)[-1]: x for x in reversed(known)}
    similar = difflib.get_close_matches(name, known, n=1)
    similar = similar or difflib.get_close_matches(name, filter(None, sections()), n=1)
    similar = similar or [ends[x] for x in difflib.get_close_matches(name, ends, n=1)]
    if similar:
        return f"no field {name!r} in the configuration; did you mean {similar[0]!r}?"
    return (
        f"no field {name!r} in the configuration; docs/fields.md lists all fields, such"
        " as optim.base_lr"
    )
