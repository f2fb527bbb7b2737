"""Converts between the representations of a configuration.

An open configuration is a `ConfigDict`, whose fields are set by files and flags. A
resolved configuration is an immutable `Config` with the same attributes. A flat
configuration is a dict {dotted field name: value}.
"""

import dataclasses
import functools
import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, cast

import ml_collections

from encnet_jax.config import table
from encnet_jax.config.table import Config
from encnet_jax.errors import UserError, short
from encnet_jax.fields import Section

Form = TypeVar("Form", Config, ml_collections.ConfigDict)


def get(config: Config | ml_collections.ConfigDict, field: str) -> Any:
    """Returns the value of a field, given its dotted name such as 'model.name'.

    Raises:
        AttributeError: the field does not exist.
    """
    return functools.reduce(getattr, field.split("."), config)


def replaced(config: Config, fields: Mapping[str, Any]) -> Config:
    """Returns a copy of `config` with new values of some fields.

    Args:
        config: a resolved configuration.
        fields: the new values: {dotted field name: value}.
    """
    for name, value in fields.items():
        *groups, last = name.split(".")
        nodes = [config]
        for group in groups:
            nodes.append(getattr(nodes[-1], group))
        for node, attribute in zip(reversed(nodes), [last, *groups[::-1]], strict=True):
            value = dataclasses.replace(node, **{attribute: _frozen(value)})
        config = value
    return config


def with_value(
    config: ml_collections.ConfigDict, field: str, value: Any
) -> ml_collections.ConfigDict:
    """Returns a copy of a `ConfigDict` with one field changed.

    Raises:
        UserError: the field does not exist, or the value has the wrong type.
    """
    changed = config.copy_and_resolve_references()
    change(changed, {field: value})
    return changed


def change(config: ml_collections.ConfigDict, fields: Mapping[str, Any]) -> None:
    """Sets fields of a `ConfigDict`.

    Args:
        config: changed in place.
        fields: the new values: {dotted field name: value}.

    Raises:
        UserError: a field does not exist, or its value has the wrong type.
    """
    for field, value in fields.items():
        if field not in table.fields():
            raise UserError(table.unknown(field))
        try:
            config.update_from_flattened_dict({field: value})
        except (TypeError, ValueError, OverflowError) as error:
            raise UserError(
                f"{field} cannot be set to {short(value)} ({error}); expected"
                f" {table.fields()[field].allowed.words}"
            ) from error


def frozen(values: Mapping[str, Any]) -> Config:
    """Converts nested dicts to an immutable `Config`.

    Args:
        values: nested dicts with the values of all fields.

    Raises:
        TypeError: a field is missing or unknown.
    """
    own = tuple(name for name in table.fields() if name not in table.STATIC_FIELDS)
    return cast(Config, _build(_with_members(table.Config, own), values))


def opened(config: Config) -> ml_collections.ConfigDict:
    """Converts an immutable `Config` to a `ConfigDict` that accepts no new fields."""
    return from_dict(_to_dict(config))


def _build(section: type, values: Mapping[str, Any]) -> Any:
    given = dict(values)
    for each in dataclasses.fields(section):
        if dataclasses.is_dataclass(each.type):
            inner = cast(type, each.type)
            given[each.name] = _build(inner, given.get(each.name, {}))
    return section(**{name: _frozen(value) for name, value in given.items()})


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, (list, tuple)) else value


@functools.cache
def _with_members(section: type, fields: tuple[str, ...]) -> type:
    """Returns a subclass of a section that adds the fields of heads, losses etc.

    Calls with equal arguments return the same class, so that equal configurations
    compare as equal.

    Args:
        section: a dataclass of fields.
        fields: dotted names of the additional fields, relative to the section.
    """
    if not fields:
        return section
    types: dict[str, Any] = {x.name: x.type for x in dataclasses.fields(section)}
    members: list[tuple[str, Any, Any]] = []
    for group in dict.fromkeys(name.partition(".")[0] for name in fields):
        inner = tuple(
            name.partition(".")[2] for name in fields if name.partition(".")[0] == group
        )
        kind: Any = Any
        if inner != ("",):
            kind = _with_members(types.get(group, Section), inner)
        members.append((group, kind, dataclasses.field()))
    return dataclasses.make_dataclass(
        section.__name__, members, bases=(section,), frozen=True, kw_only=True
    )


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Converts {dotted field name: value} to nested dicts."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        *groups, last = name.split(".")
        node = found
        for group in groups:
            node = node.setdefault(group, {})
        node[last] = value
    return found


def to_json(config: Config | ml_collections.ConfigDict) -> str:
    """Returns a configuration as JSON text; tuples become lists."""
    return json.dumps(_to_dict(config), indent=2, sort_keys=True)


def from_dict(values: dict) -> ml_collections.ConfigDict:
    """Converts nested dicts to a `ConfigDict` that accepts no new fields."""
    return ml_collections.ConfigDict(values).lock()


def flatten(config: Config | ml_collections.ConfigDict) -> dict[str, Any]:
    """Converts a configuration to {dotted field name: value}, sorted by name.

    Tuples become lists.
    """
    return dict(_flatten(json.loads(to_json(config)), ""))


def flat_values(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """Converts a `ConfigDict` to {dotted field name: value}, sorted by name.

    Values keep their types; for example, tuples remain tuples.
    """
    return dict(_flatten(config.to_dict(), ""))


def _to_dict(config: Config | ml_collections.ConfigDict) -> dict[str, Any]:
    if isinstance(config, ml_collections.ConfigDict):
        return config.to_dict()
    return nested({name: get(config, name) for name in table.fields()})


def _flatten(node: dict, prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in sorted(node.items()):
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
