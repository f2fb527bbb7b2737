"""Declares configuration fields: default, allowed values and meaning."""

import dataclasses
import sys
import typing
from collections.abc import Callable
from typing import Any, NamedTuple

LARGEST_INT32 = 2**31 - 1  # Steps and counts are int32 on the devices.


class Allowed(NamedTuple):
    """The allowed values of a field.

    Attributes:
        words: description of the allowed values; follows the word 'expected' in error
            messages.
        fits: function that returns whether a value is allowed; not called with None.
    """

    words: str
    fits: Callable[[Any], bool]


@dataclasses.dataclass(frozen=True)
class Field:
    """One field of a configuration.

    Attributes:
        default: the value if neither a file nor a flag sets the field. None if the
            value is derived from other fields; `kind` is then required.
        allowed: the allowed values.
        doc: the meaning, with the unit, as one or more sentences.
        kind: type of the value; if omitted, the type of `default`.
    """

    default: Any
    allowed: Allowed
    doc: str
    kind: type | None = None

    def __post_init__(self) -> None:
        """Checks `default`; sets `kind` to the type of `default` if `kind` is None.

        Raises:
            ValueError: `default` and `kind` are both None, or `default` is not allowed.
        """
        if self.default is None and self.kind is None:
            raise ValueError(
                "default and kind are both None; expected a kind for a field without a"
                " default"
            )
        if self.default is not None and not self.allowed.fits(self.default):
            raise ValueError(
                f"the default is {self.default!r}; expected {self.allowed.words}"
            )
        if self.kind is None:
            object.__setattr__(self, "kind", type(self.default))


def is_number(value: object) -> bool:
    """Returns whether a value is a finite int or float, but not a bool."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    # math.isfinite raises an error for very long integers.
    return number and abs(value) <= sys.float_info.max  # type: ignore[arg-type]


def between(low: float, high: float) -> Allowed:
    """Allows numbers in [low, high]."""
    return Allowed(f"{low} to {high}", lambda x: is_number(x) and low <= x <= high)


def at_least(low: float, below: float) -> Allowed:
    """Allows numbers in [low, below)."""
    return Allowed(
        f"{low} or more, less than {below}", lambda x: is_number(x) and low <= x < below
    )


def above(low: float, high: float) -> Allowed:
    """Allows numbers in (low, high]."""
    return Allowed(
        f"more than {low}, at most {high}", lambda x: is_number(x) and low < x <= high
    )


def one_of(*values: Any) -> Allowed:
    """Allows only the given values; types must match too: one_of(1) rejects True."""
    return Allowed(
        f"one of: {', '.join(str(v) if v != '' else repr(v) for v in values)}",
        lambda x: any(type(x) is type(v) and x == v for v in values),
    )


def several(
    each: Allowed, words: str, least: int = 0, most: int | None = None
) -> Allowed:
    """Allows tuples and lists in which `each` allows every element.

    Args:
        each: the allowed values of an element.
        words: description of the allowed tuples and lists, for messages.
        least: minimum number of elements.
        most: maximum number of elements; None means no limit.
    """

    def fits(values: Any) -> bool:
        listed = isinstance(values, (tuple, list)) and len(values) >= least
        return (
            listed
            and (most is None or len(values) <= most)
            and all(map(each.fits, values))
        )

    return Allowed(words, fits)


def _is_line(value: object) -> bool:
    return isinstance(value, str) and not {"\n", "\0"} & set(value)


FLAG = Allowed("True or False", lambda x: isinstance(x, bool))
TEXT = Allowed("text of one line", _is_line)
COUNT = between(0, LARGEST_INT32)
AT_LEAST_ONE = between(1, LARGEST_INT32)
SIDE = between(16, 1 << 15)  # Pixels.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
    """Base class of configuration sections.

    A field can be read as section.name or section["name"].
    """

    def __getitem__(self, name: str) -> Any:
        """Returns the value of a field."""
        return getattr(self, name)


def field(default: Any, allowed: Allowed | Callable[[], Allowed], doc: str) -> Any:
    """Declares a configuration field in a Section: `width: int = field(64, ...)`.

    Args:
        default: default value; None if the value is derived from other fields.
        allowed: the allowed values; a function that returns them if more values may be
            registered later.
        doc: the meaning, with the unit, as one or more sentences.
    """
    return dataclasses.field(default=default, metadata={"allowed": allowed, "doc": doc})


def group(fields: type) -> Any:
    """Declares a nested group of fields in a Section: `crf: Crf = group(Crf)`."""
    return dataclasses.field(default_factory=fields)


def declared(section: type, prefix: str = "") -> dict[str, Field]:
    """Returns the fields that a Section declares, including those of nested groups.

    Args:
        section: a dataclass whose fields are declared with `field` and `group`; all
            other attributes are skipped.
        prefix: prefix of each name, such as 'optim.'.

    Returns:
        {prefix + dotted name: field}.
    """
    found: dict[str, Field] = {}
    for each in dataclasses.fields(section):
        name = f"{prefix}{each.name}"
        if dataclasses.is_dataclass(each.type):
            found |= declared(each.type, f"{name}.")  # type: ignore[arg-type]
        elif "allowed" in each.metadata:
            kind: Any = typing.get_origin(each.type) or each.type
            allowed = each.metadata["allowed"]
            if not isinstance(allowed, Allowed):
                allowed = allowed()
            found[name] = Field(each.default, allowed, each.metadata["doc"], kind)
    return found
