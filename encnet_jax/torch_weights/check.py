"""Checks that a state dict has exactly the arrays of a model."""

import re
from collections.abc import Iterable, Mapping

import numpy as np

from encnet_jax.errors import UserError
from encnet_jax.torch_weights import families
from encnet_jax.torch_weights.names import Entry, Family, counters, table

_MAX_LISTED = 8


def checked_table(
    variables: Mapping,
    state_dict: Mapping[str, np.ndarray],
    family: Family,
    model_config,
) -> list[Entry]:
    """Lists a model's arrays; checks that a state dict contains exactly these arrays.

    Args:
        variables: variables of the model, or their shapes.
        state_dict: {name: array}, not nested; see state_dicts.unwrap.
        family: family (naming scheme) of the state dict; only modules in family.parts
            are listed and compared.
        model_config: section `model` of the resolved configuration.

    Returns:
        One names.Entry for each listed array.

    Raises:
        UserError: arrays are missing, unexpected or have a wrong shape, or the family
            has no name for a module. The message lists at most eight problems.
    """
    try:
        entries = table(variables, family, model_config)
        problems = _problems(state_dict, entries, family)
    except UserError as error:
        entries, problems = [], [str(error)]
    if not problems:
        return entries
    shapes = {name: x.shape for name, x in state_dict.items()}
    hints = families.differences(shapes, family, model_config)
    message = f"these weights of {family.title} do not match the configuration:"
    if hints:
        message += f" change these fields ({'; '.join(hints)}); affected arrays:"
    message += " " + "; ".join(problems[:_MAX_LISTED])
    if len(problems) > _MAX_LISTED:
        message += f"; and {len(problems) - _MAX_LISTED} more"
    raise UserError(message)


def misfits(
    state_dict: Mapping[str, np.ndarray], entries: Iterable[Entry]
) -> list[str]:
    """Compares the expected arrays with those of a state dict.

    Args:
        state_dict: {name: array}.
        entries: the expected arrays.

    Returns:
        One message for each expected array that is missing, has a wrong shape or is
        not floating-point.
    """
    found = []
    for name, _, shape, _ in entries:
        if name not in state_dict:
            found.append(f"missing {name} {list(shape)}")
        elif not _is_float(state_dict[name]) or state_dict[name].shape != shape:
            found.append(
                f"mismatched {name} {_describe(state_dict[name])}, expected"
                f" {list(shape)}"
            )
    return found


def _problems(state_dict, entries: list[Entry], family: Family) -> list[str]:
    known = {e.name for e in entries} | set(counters(entries))
    surplus = [
        f"unexpected {name} {_describe(array)}"
        for name, array in state_dict.items()
        if name not in known and not re.fullmatch(family.left_out, name)
    ]
    return misfits(state_dict, entries) + surplus


def _is_float(array: np.ndarray) -> bool:
    return np.issubdtype(array.dtype, np.floating)


def _describe(array: np.ndarray) -> str:
    kind = "" if _is_float(array) else f" of {array.dtype}"
    return f"{list(array.shape)}{kind}"
