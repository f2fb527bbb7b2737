"""Explains fields, and generates docs/fields.md, the reference of all fields."""

from encnet_jax.config import table
from encnet_jax.config.architectures import ARCHITECTURES, FOLLOWING
from encnet_jax.errors import UserError
from encnet_jax.fields import Field

_HEADER = """\
# Fields of a configuration

Every field with its default, its allowed values and its meaning. This file is written
by `python -m encnet_jax.config --reference`. `encnet config --explain FIELD` prints the
entry of one field. `python train.py --config configs/NAME.py --config.FIELD=VALUE` sets
a field.
"""


def explain(name: str) -> str:
    """Returns a text that describes a field, or lists the fields of a section.

    The description of a field contains its type, default, allowed values and meaning.

    Args:
        name: dotted name of a field, or of a section such as 'optim' or 'model.duc'.

    Raises:
        UserError: no field or section has this name.
    """
    fields, sections = table.fields(), table.sections()
    if name in fields:
        field = fields[name]
        return (
            f"{name} ({field.kind.__name__ if field.kind else ''})\n"
            f"  default: {_default(name, field)}\n"
            f"  allowed: {field.allowed.words}\n"
            f"  {field.doc}"
        )
    if name not in sections:
        raise UserError(table.unknown(name))
    inside = {x: field for x, field in fields.items() if x.startswith(f"{name}.")}
    lines = [f"  {x} = {_default(x, f)}: {f.doc}" for x, f in inside.items()]
    return "\n".join([f"{name}: {sections[name].splitlines()[0]}", *lines])


def reference() -> str:
    """Returns the text of docs/fields.md: all fields, in Markdown tables."""
    parts, fields = [_HEADER], table.fields()
    for section, doc in table.sections().items():
        prefix = f"{section}." if section else ""
        own = [
            f"| `{name}` | {_cell(_default(name, field))} |"
            f" {_cell(field.allowed.words)} | {_cell(field.doc)} |"
            for name, field in fields.items()
            if name.startswith(prefix) and "." not in name.removeprefix(prefix)
        ]
        title = f"## `{section}`" if section else "## Top level"
        paragraph = " ".join(doc.split())
        head = "| field | default | allowed | meaning |\n| --- | --- | --- | --- |"
        parts.append("\n".join([title, "", paragraph, "", head, *own, ""]))
    return "\n".join(parts)


def _default(name: str, field: Field) -> str:
    if field.default is not None:
        return repr(field.default)
    if name in FOLLOWING:
        return FOLLOWING[name]
    values = {
        a: decided[name] for a, decided in ARCHITECTURES.items() if name in decided
    }
    if not values:
        return "computed"
    common = values["tuned"]
    others = "".join(f"; {a}: {v!r}" for a, v in values.items() if v != common)
    return f"{common!r}{others}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")
