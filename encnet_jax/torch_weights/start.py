"""Initialises a training run from a weight file."""

import dataclasses
import os
from collections.abc import Collection, Mapping

from flax import traverse_util

from encnet_jax.errors import UserError
from encnet_jax.torch_weights import families
from encnet_jax.torch_weights.check import checked_table, misfits
from encnet_jax.torch_weights.names import Entry, Family, table
from encnet_jax.torch_weights.state_dicts import read, to_variables
from encnet_jax.weights import cache

# Modules whose number of channels is the number of classes.
_CLASS_MODULES = ("classifier", "presence")


def initialise(
    variables: Mapping,
    path: str | os.PathLike,
    model_config,
    *,
    may_differ: Collection[str] = (),
) -> tuple[dict[str, dict], list[str]]:
    """Replaces initial variables with those of a weight file.

    The file must contain the whole backbone. If a head is not part of the file's family
    (naming scheme), the head keeps its initial weights. Heads in `may_differ` may
    differ from the file: if only layers with one channel per class differ, these layers
    keep their initial weights; if other layers differ too, the whole head keeps its
    initial weights.

    Args:
        variables: initial {'params', 'batch_stats'}.
        path: name or path of the weights; see `state_dicts.read`.
        model_config: section `model` of the resolved configuration.
        may_differ: heads that may differ from the file: 'head', 'aux_head'.

    Returns:
        (new variables, lines to print). The variables have the same structure as
        before; the lines state which arrays were loaded.

    Raises:
        UserError: the file cannot be read, its family is unknown, the backbones differ,
            the model has no backbone, or a head outside `may_differ` differs.
    """
    if "backbone" not in variables["params"]:
        raise UserError(
            "init_from is a weight file, but the network has no backbone; expected the"
            " folder of a run, or '' for random weights: change init_from"
        )
    state_dict = read(path)
    family = families.recognise(state_dict)
    taken = _backbone(variables, state_dict, family, model_config)
    lines = [
        f"{path}: weights of {family.title}",
        f"backbone: loaded all {len(taken)} arrays",
    ]
    # A file downloaded by name cannot be from another network: its digest was verified.
    if family.look_alikes and not cache.is_name(os.fspath(path)):
        lines.append(
            f"note: {family.look_alikes} have the same parameter names but other"
            " layers; if the file is from one of them, scores will be wrong"
        )
    for head in ("head", "aux_head"):
        if head not in variables["params"]:
            continue
        if head not in family.parts:
            lines.append(f"{head}: randomly initialised; not in the file")
            continue
        entries, problems = _head(variables, state_dict, family, head, model_config)
        if problems and head not in may_differ:
            raise UserError(
                f"{head} cannot be loaded from {path}: {problems[0]}; set the fields of"
                f" section model to those of the file, or keep the initial weights of"
                f" {head} with --config.init_skip={head}"
            )
        taken += entries
        if entries:
            total = len(entries) + len(problems)
            lines.append(f"{head}: loaded {len(entries)} of {total} arrays")
        lines += [f"{head}: randomly initialised; {problem}" for problem in problems]
    flat = traverse_util.flatten_dict(dict(variables))
    flat |= traverse_util.flatten_dict(to_variables(state_dict, taken))
    return traverse_util.unflatten_dict(flat), lines


def _backbone(
    variables: Mapping, state_dict: Mapping, family: Family, model_config
) -> list[Entry]:
    """Checks that a file contains all arrays of the backbone, and lists these arrays.

    Raises:
        UserError: an array of the backbone is missing, unexpected or has a wrong shape.
    """
    of_heads = tuple(start for start, _ in family.heads)
    arrays = {
        name: array
        for name, array in state_dict.items()
        if name.startswith(family.prefix) and not name.startswith(of_heads)
    }
    part = dataclasses.replace(family, parts=("backbone",))
    return checked_table(variables, arrays, part, model_config)


def _head(
    variables: Mapping, state_dict: Mapping, family: Family, head: str, model_config
) -> tuple[list[Entry], list[str]]:
    """Lists the arrays of a head that can be loaded from a file.

    Returns:
        (arrays to load, descriptions of arrays that do not match). If an array outside
        the layers with one channel per class does not match, no array is loaded.
    """
    try:
        part = dataclasses.replace(family, parts=(head,))
        entries = table(variables, part, model_config)
    except UserError as error:
        return [], [str(error)]
    of_classes = [e for e in entries if not set(_CLASS_MODULES).isdisjoint(e.path)]
    others = [e for e in entries if e not in of_classes]
    problems = misfits(state_dict, others)
    if problems:
        return [], [f"the file does not match: {problems[0]}"]
    fitting = others + [e for e in of_classes if not misfits(state_dict, [e])]
    return fitting, misfits(state_dict, of_classes)
