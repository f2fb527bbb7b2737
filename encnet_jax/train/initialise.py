"""Loads initial weights from a run, an exported network or a weight file."""

import re

import numpy as np
from flax import traverse_util

from encnet_jax.checkpoints import location, read
from encnet_jax.config import ModelConfig
from encnet_jax.errors import UserError
from encnet_jax.storage import lookup
from encnet_jax.tasks import folder

# Prefix of the stage-4 modules of a piecewise CRF's second and third scale.
_SCALE = re.compile(r"(?<=/backbone/)scale\d+_")


def initialise(
    variables: dict, source: str, skip: str, *, task: str, model: ModelConfig
) -> tuple[dict, list[str]]:
    """Replaces initial variables with those of a run, exported network or weight file.

    A run or an exported network must contain exactly the arrays of the model, with
    the same shapes, except for the modules in `skip`. If a segmentation network is
    initialised from the run of a classifier, only the backbone is loaded. A weight file
    must contain the whole backbone; a head in the file must match the model's head,
    unless `skip` contains the head.

    Args:
        variables: initial {'params', 'batch_stats'}.
        source: field `init_from`: folder of a run or of an exported network, or name or
            path of a weight file; see torch_weights.state_dicts.read.
        skip: field `init_skip`: comma-separated names of modules. Arrays of these
            modules may be missing or have other shapes.
        task: task of this run, 'segmentation' or 'classification'.
        model: section `model` of the resolved configuration.

    Returns:
        (new variables, lines to print). The lines state which arrays were loaded and
        which arrays keep their initial values.

    Raises:
        UserError: the source does not exist, or its arrays do not match the model.
    """
    may_skip = tuple(filter(None, map(str.strip, skip.split(","))))
    source = folder.local(source)
    if folder.is_one(source):
        return take_matching(variables, folder.read(source).variables, source, may_skip)
    if lookup.exists(location.folder_of(source)):
        saved, saved_config = read.restore_variables(source)
        if task == "segmentation" and saved_config.task == "classification":
            return take_backbone(variables, saved, source, model, saved_config.model)
        return take_matching(variables, saved, source, may_skip)
    from encnet_jax import torch_weights

    return torch_weights.initialise(variables, source, model, may_differ=may_skip)


def take_backbone(
    variables: dict,
    saved: dict,
    source: str,
    model: ModelConfig,
    saved_model: ModelConfig,
) -> tuple[dict, list[str]]:
    """Replaces the variables of the backbone with those of a trained classifier.

    Args:
        variables: initial {'params', 'batch_stats'} of this run.
        saved: {'params', 'batch_stats'} of the classifier.
        source: folder of the run that trained the classifier.
        model, saved_model: configuration sections `model` of this run and of the run in
            `source`.

    Returns:
        (new variables, lines to print). The lines state where each module's weights
        come from.

    Raises:
        UserError: the classifier has no backbone, or a different backbone.
    """
    if "backbone" not in saved["params"]:
        raise UserError(
            f"{source} was trained with model.name={saved_model.name!r}, a network for"
            " 32x32 images without a backbone; expected a run that was trained with"
            " configs/imagenet.py: change init_from"
        )
    # Variables of a backbone without batch norms have no statistics.
    parts, initial = (
        {kind: {"backbone": x["backbone"]} for kind, x in of.items() if "backbone" in x}
        for of in (saved, variables)
    )
    taken, _ = take_matching(initial, parts, source, ())
    counts = [len(traverse_util.flatten_dict(taken[kind])) for kind in taken]
    strides = saved_model.output_stride, model.output_stride
    lines = [
        f"backbone: loaded all {sum(counts)} arrays from {source}, statistics included",
        "backbone: output stride {} in that run, {} in this one".format(*strides),
    ]
    lines += [
        f"{part}: not used; it is the classifier of {source}"
        for part in saved["params"]
        if part != "backbone"
    ]
    lines += [
        f"{part}: randomly initialised; {source} does not contain it"
        for part in variables["params"]
        if part != "backbone"
    ]
    return {kind: x | taken.get(kind, {}) for kind, x in variables.items()}, lines


def take_matching(
    variables: dict, saved: dict, source: str, may_skip: tuple[str, ...]
) -> tuple[dict, list[str]]:
    """Replaces arrays in `variables` with arrays in `saved` of the same name and shape.

    If `saved` has only one stage 4, all scales of a piecewise CRF start from it, as
    with weight files.

    Args:
        variables: initial {'params', 'batch_stats'}.
        saved: {'params', 'batch_stats'} of the source.
        source: folder or file from which `saved` was read, for messages.
        may_skip: modules or arrays, such as 'head' or 'head/classifier', that may have
            different shapes, or be missing in `variables` or `saved`.

    Returns:
        (new variables, lines to print). The lines state which arrays were loaded.

    Raises:
        UserError: an array that is not in `may_skip` is missing in `variables` or
            `saved`, or has another shape in `saved`.
    """
    initial = traverse_util.flatten_dict(variables, sep="/")
    found = traverse_util.flatten_dict(saved, sep="/")
    single = {name: _SCALE.sub("", name) for name in initial if name not in found}
    found |= {name: found[own] for name, own in single.items() if own in found}
    fits = {
        n for n in initial if n in found and np.shape(found[n]) == np.shape(initial[n])
    }
    left = [name for name in initial if name not in fits]
    unused = [name for name in found if name not in initial]
    refused = [name for name in left + unused if not _may_skip(name, may_skip)]
    if refused:
        raise UserError(
            f"{source} does not match the model: {len(refused)} arrays differ, for"
            f" example {refused[0]!r}, {_shape(found, refused[0])} in the source and"
            f" {_shape(initial, refused[0])} in the model; use the source's values of"
            " model.*, or list modules to skip: --config.init_skip=head,aux_head"
        )
    chosen = {name: found[name] if name in fits else x for name, x in initial.items()}
    lines = [f"loaded {len(fits)} of {len(initial)} arrays from {source}"]
    lines += [f"  randomly initialised: {name}" for name in left]
    lines += [f"  not used: {name}" for name in unused]
    return traverse_util.unflatten_dict(chosen, sep="/"), lines


def _may_skip(name: str, may_skip: tuple[str, ...]) -> bool:
    module = name.partition("/")[2]  # The name without 'params' or 'batch_stats'.
    return any(f"{module}/".startswith(f"{allowed}/") for allowed in may_skip)


def _shape(arrays: dict, name: str) -> str:
    return f"shape {list(np.shape(arrays[name]))}" if name in arrays else "absent"
