"""Reads, checks and completes configurations that were saved with a run."""

import json
from typing import Any

import ml_collections

from encnet_jax import storage
from encnet_jax.config import checks, defaults, table
from encnet_jax.config.forms import flat_values, flatten, from_dict, nested, to_json
from encnet_jax.errors import UserError

_OLD_RUN = "for a run of an older version, use commit aeb6f69 of encnet_jax"


def completed(saved: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Adds missing fields, with their defaults, to a saved configuration.

    Configurations saved by older versions lack fields that were added later.

    Raises:
        UserError: a field is unknown, or a missing field has no default.
    """
    values, fields = flatten(saved), table.fields()
    for name in values:
        if name not in fields:
            raise UserError(
                f"the saved configuration has an unknown field {name[:100]};"
                f" {_OLD_RUN}; if the field belongs to your own head or loss, add"
                " --config with the file that registers this head or loss"
            )
    for name, field in fields.items():
        if name not in values and field.default is None:
            raise UserError(f"the saved configuration has no field {name}; {_OLD_RUN}")
    defaults = {name: field.default for name, field in fields.items()}
    return from_dict(nested(defaults | values))


def from_saved(values: object, where: object) -> ml_collections.ConfigDict:
    """Converts a configuration that was read from JSON to a `ConfigDict`.

    Missing fields get their default values.

    Args:
        values: the content of the JSON file.
        where: the file, for error messages.

    Raises:
        UserError: the content is not a configuration, or a field's value is not
            allowed.
    """
    wrong = _other_shape(values, json.loads(to_json(defaults.get_config())), "")
    if wrong:
        raise UserError(
            f"{where} does not contain a run's configuration: {wrong}; restore the file"
        )
    assert isinstance(values, dict)
    try:
        config = completed(from_dict(values))
        checks.check_each(flat_values(config))
        return config
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def read_saved(path) -> ml_collections.ConfigDict:
    """Returns the configuration in a run's config.json.

    Missing fields get their default values.

    Raises:
        UserError: the file does not contain a valid configuration.
    """
    return from_saved(storage.read_json(path), path)


def _other_shape(values: object, known: dict[str, Any], prefix: str) -> str | None:
    """Compares the structure of a JSON value with that of the default configuration.

    Args:
        values: the JSON value.
        known: the default configuration as nested dicts.
        prefix: dotted name of the section, with a final dot; '' for the whole
            configuration.

    Returns:
        A description of the first difference, such as 'optim.name is an object'; None
        if the structures match.
    """
    if not isinstance(values, dict):
        return f"{prefix.rstrip('.') or 'the content'} is not an object"
    for key, value in values.items():
        if "." in key:
            return f"{prefix}{key[:100]} is not the name of a field"
        # Only fields that are computed if they are not set may be null.
        if value is None and known.get(key, "") is not None:
            return f"{prefix}{key[:100]} is null"
        if isinstance(known.get(key), dict):
            wrong = _other_shape(value, known[key], f"{prefix}{key}.")
            if wrong:
                return wrong
        elif key in known and isinstance(value, dict):
            return f"{prefix}{key} is an object"
    return None
