"""Checks the structure of JSON values before the program uses them.

A schema is a type, a tuple of types, a function (value -> error message or None), or a
dict (key -> schema). A schema's key that ends with '?' is optional. Keys of the value
that are not in the schema are ignored.
"""

import math
import re
import sys
from collections.abc import Callable
from typing import Any

_Check = Callable[[Any], str | None]


def problem(value, schema, name: str = "") -> str | None:
    """Checks a value against a schema; returns a message for the first mismatch.

    Args:
        value: a value returned by json.loads.
        schema: see the module's docstring.
        name: name of the value in the message.

    Returns:
        The message, or None if the value matches.
    """
    if isinstance(schema, dict):
        return _problem_of_members(value, schema, name)
    if isinstance(schema, (type, tuple)):
        kinds = schema if isinstance(schema, tuple) else (schema,)
        # True is an int in Python, but not a number in JSON.
        wrong_bool = isinstance(value, bool) and bool not in kinds
        found = isinstance(value, kinds) and not wrong_bool
        words = " or ".join(_WORDS.get(kind, kind.__name__) for kind in kinds)
        return None if found else f"{name or 'it'} is {_shown(value)}; expected {words}"
    wrong = schema(value)
    return wrong and f"{name or 'it'} {wrong}"


_WORDS = {
    dict: "an object",
    list: "a list",
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


def _problem_of_members(value, schema: dict, name: str) -> str | None:
    if not isinstance(value, dict):
        return f"{name or 'it'} is {_shown(value)}; expected an object"
    for key, of_member in schema.items():
        shown = f"{name}.{key.rstrip('?')}" if name else key.rstrip("?")
        if key.rstrip("?") not in value:
            if key.endswith("?"):
                continue
            return f"{shown} is missing"
        wrong = problem(value[key.rstrip("?")], of_member, shown)
        if wrong:
            return wrong
    return None


def number(low: float = -math.inf, high: float = math.inf) -> _Check:
    """Returns a schema that accepts finite numbers in [low, high]."""

    def check(value) -> str | None:
        # math.isfinite raises an error for very long integers.
        is_number = type(value) in (int, float) and abs(value) <= sys.float_info.max
        if is_number and low <= value <= high:
            return None
        return f"is {_shown(value)}; expected a number from {low:g} to {high:g}"

    return check


def whole(low: int = 0, high: int = 2**53) -> _Check:
    """Returns a schema that accepts integers in [low, high]."""

    def check(value) -> str | None:
        if type(value) is int and low <= value <= high:
            return None
        return f"is {_shown(value)}; expected a whole number from {low} to {high}"

    return check


def word(value) -> str | None:
    """A schema that accepts texts of 1 to 100 characters that suit a file name."""
    if isinstance(value, str) and re.fullmatch(r"[\w.,+ -]{1,100}", value):
        return None
    expected = "1 to 100 letters, digits, spaces or characters of '_.,+-'"
    return f"is {_shown(value)}; expected {expected}"


def optional(schema) -> _Check:
    """Returns a schema that accepts null and values that match `schema`."""
    return lambda value: (
        None if value is None else _without_name(problem(value, schema))
    )


def mapping(schema) -> _Check:
    """Returns a schema that accepts objects whose values all match `schema`."""

    def check(value) -> str | None:
        if not isinstance(value, dict):
            return f"is {_shown(value)}; expected an object"
        found = (problem(x, schema, f"has {key!r}, which") for key, x in value.items())
        return next(filter(None, found), None)

    return check


def listing(schema, most: int = 1 << 24) -> _Check:
    """Returns a schema that accepts lists whose values all match `schema`.

    Args:
        schema: schema of the values.
        most: largest accepted length.
    """

    def check(value) -> str | None:
        if not isinstance(value, list) or len(value) > most:
            return f"is {_shown(value)}; expected a list of 0 to {most} values"
        found = (problem(x, schema, "has a value that") for x in value)
        return next(filter(None, found), None)

    return check


def _without_name(wrong: str | None) -> str | None:
    return wrong and wrong.removeprefix("it ")


def _shown(value) -> str:
    text = type(value).__name__ if isinstance(value, (dict, list)) else repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
