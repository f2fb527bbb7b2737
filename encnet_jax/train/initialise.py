"""Starting weights from somewhere else than chance."""

import numpy as np
from flax import traverse_util

from encnet_jax.checkpoints import manager as manager_lib
from encnet_jax.checkpoints import read
from encnet_jax.errors import UserError


def initialise(variables: dict, config) -> tuple[dict, list[str]]:
    """Replaces fresh variables by those that config.init_from holds.

    A run's folder must hold every array of the model in its shape, and no other one. Of
    a classifier's run a segmentation network takes the backbone alone. A weight file
    holds the whole backbone, and heads that fit if it has any. What may differ,
    config.init_skip names.

    Args:
        variables: freshly made {'params', 'batch_stats'}.
        config: resolved configuration.

    Returns:
        (variables, lines for people: what was taken, what stays at random).

    Raises:
        UserError: nothing is there, or it does not fit.
    """
    source = config.init_from
    may_skip = tuple(filter(None, map(str.strip, config.init_skip.split(","))))
    if manager_lib.folder_of(source).exists():
        saved, saved_config = read.restore_variables(source)
        if config.task == "segmentation" and saved_config.task == "classification":
            return take_backbone(variables, saved, source, config, saved_config)
        return take_matching(variables, saved, source, may_skip)
    from encnet_jax import torch_weights

    return torch_weights.initialise(
        variables, source, config.model, may_differ=may_skip
    )


def take_backbone(
    variables: dict, saved: dict, source: str, config, saved_config
) -> tuple[dict, list[str]]:
    """Replaces the backbone, statistics included, by that of a classifier's run.

    Args:
        variables, saved: {'params', 'batch_stats'}.
        source: where `saved` comes from.
        config, saved_config: of this run and of that.

    Returns:
        (variables, a line for each part).

    Raises:
        UserError: the run has no backbone, or another one.
    """
    if "backbone" not in saved["params"]:
        raise UserError(
            f"{source} holds a {saved_config.model.name} for 32x32 pixels, which has no"
            " backbone: name a run of configs/imagenet.py"
        )
    parts = {kind: {"backbone": saved[kind]["backbone"]} for kind in saved}
    fresh = {kind: {"backbone": variables[kind]["backbone"]} for kind in variables}
    taken, _ = take_matching(fresh, parts, source, ())
    counts = [len(traverse_util.flatten_dict(taken[kind])) for kind in taken]
    strides = saved_config.model.output_stride, config.model.output_stride
    lines = [
        f"backbone: took all {sum(counts)} arrays from {source}, statistics included",
        "backbone: output stride {} there, {} here".format(*strides),
    ]
    lines += [
        f"{part}: left out, {source} classifies whole images by it"
        for part in saved["params"]
        if part != "backbone"
    ]
    lines += [
        f"{part}: left at random, {source} has none"
        for part in variables["params"]
        if part != "backbone"
    ]
    return {kind: variables[kind] | taken[kind] for kind in variables}, lines


def take_matching(
    variables: dict, saved: dict, source: str, may_skip: tuple[str, ...]
) -> tuple[dict, list[str]]:
    """Replaces arrays by those of the same name and shape in `saved`.

    Args:
        variables, saved: {'params', 'batch_stats'}.
        source: where `saved` comes from.
        may_skip: modules or arrays that may be missing or differ on either side:
            'head', 'head/classifier'.

    Returns:
        (variables, lines for people).

    Raises:
        UserError: others differ.
    """
    fresh = traverse_util.flatten_dict(variables, sep="/")
    found = traverse_util.flatten_dict(saved, sep="/")
    fits = {n for n in fresh if n in found and np.shape(found[n]) == np.shape(fresh[n])}
    left = [name for name in fresh if name not in fits]
    unused = [name for name in found if name not in fresh]
    refused = [name for name in left + unused if not _may_skip(name, may_skip)]
    if refused:
        raise UserError(
            f"{source} and the model differ in {len(refused)} arrays, first"
            f" {refused[0]}: {_shape(found, refused[0])} there,"
            f" {_shape(fresh, refused[0])} here; choose the same model fields, or name"
            " what may be skipped: --config.init_skip=head,aux_head"
        )
    chosen = {name: found[name] if name in fits else x for name, x in fresh.items()}
    lines = [f"took {len(fits)} of {len(fresh)} arrays from {source}"]
    lines += [f"  left at random: {name}" for name in left]
    lines += [f"  not used: {name}" for name in unused]
    return traverse_util.unflatten_dict(chosen, sep="/"), lines


def _may_skip(name: str, may_skip: tuple[str, ...]) -> bool:
    module = name.partition("/")[2]  # Behind 'params' or 'batch_stats'.
    return any(f"{module}/".startswith(f"{allowed}/") for allowed in may_skip)


def _shape(arrays: dict, name: str) -> str:
    return str(list(np.shape(arrays[name]))) if name in arrays else "none"
