"""Converts PyTorch state dicts to a model's variables and back."""

import itertools
import os
from collections.abc import Callable, Iterable, Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from encnet_jax import models
from encnet_jax.errors import UserError
from encnet_jax.torch_weights import families
from encnet_jax.torch_weights.check import checked_table
from encnet_jax.torch_weights.files import read_state_dict
from encnet_jax.torch_weights.names import Entry, Family, counters, table
from encnet_jax.weights import cache

# Keys under which training scripts nest their weights, and their averaged weights.
_WRAPPERS = (
    "state_dict",
    "model",
    "model_state_dict",
    "model_state",
    "net",
    "network",
    "weights",
    "params",
)
_AVERAGED = ("ema", "state_dict_ema", "model_ema", "ema_state_dict")
# Prefixes of DataParallel, torch.compile, PyTorch Lightning and wrapper classes.
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.")
_AVERAGED_SUFFIX = "#ema"


def read(source: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads the state dict of a weight file.

    Args:
        source: name in `weights.PUBLISHED` (the file is downloaded if necessary), or
            path of a file; see `read_state_dict`. The suffix '#ema' selects the
            averaged weights of a file that also contains other weights.

    Raises:
        UserError: the download failed, or the file cannot be read or does not contain
            the selected weights. The message contains the file's path.
    """
    path = os.fspath(source)
    averaged = path.endswith(_AVERAGED_SUFFIX)
    path = path.removesuffix(_AVERAGED_SUFFIX)
    if cache.is_name(path):
        path = os.fspath(cache.fetch(path))
    else:
        cache.refuse_look_alike_file(path)
    try:
        return unwrap(read_state_dict(path), averaged=averaged)
    except UserError as error:
        named = path in str(error)
        raise error if named else UserError(f"{path}: {error}") from None


def unwrap(state_dict: Mapping, *, averaged: bool = False) -> dict[str, np.ndarray]:
    """Extracts the state dict from a checkpoint; removes prefixes such as 'module.'.

    Args:
        state_dict: contents of the file; may be nested.
        averaged: True selects the averaged weights (`ema`); False selects them only if
            the checkpoint contains no other weights.

    Raises:
        UserError: the checkpoint contains no arrays; a dict contains itself; or
            `averaged` is True, but there are no averaged weights.
    """
    seen = []
    while (key := _wrapped(state_dict, averaged=averaged)) is not None:
        seen.append(id(state_dict))
        state_dict, averaged = state_dict[key], False
        if id(state_dict) in seen:
            raise UserError(
                f"found a dict {key!r} that contains itself; expected a state dict of"
                " arrays: save the state dict of the model"
            )
    found = {name: x for name, x in state_dict.items() if hasattr(x, "shape")}
    if not _has_arrays(found):
        names = [str(name)[:80] for name in itertools.islice(state_dict, 5)]
        raise UserError(
            f"found a dict without arrays (keys: {', '.join(names) or 'none'});"
            " expected a state dict of arrays: save the state dict of the model"
        )
    # Prefixes are removed only if necessary: names of the authors' CIFAR-10 networks
    # begin with `model.`, too.
    while not families.is_known(found) and (prefix := _common_prefix(found)):
        found = {name.removeprefix(prefix): x for name, x in found.items()}
    return {name: np.asarray(x) for name, x in found.items()}


def _wrapped(state_dict: Mapping, *, averaged: bool) -> str | None:
    """Returns the key of a checkpoint's state dict, or None if there is no such key.

    Raises:
        UserError: `averaged` is True, but there are no averaged weights.
    """
    nested = [key for key, value in state_dict.items() if isinstance(value, Mapping)]
    of_averages = [key for key in _AVERAGED if key in nested]
    if averaged and not of_averages:
        raise UserError(
            "the file contains no averaged weights; expected one of the keys"
            f" {', '.join(_AVERAGED)}: remove the suffix {_AVERAGED_SUFFIX}"
        )
    plain = [] if averaged else [key for key in _WRAPPERS if key in nested]
    if plain:
        return plain[0]
    if of_averages and (averaged or not _has_arrays(state_dict)):
        return of_averages[0]
    return None


def _has_arrays(state_dict: Mapping) -> bool:
    """Returns whether a dict contains arrays with at least one axis.

    Scalars, such as a best score, do not count.
    """
    return any(getattr(value, "shape", ()) for value in state_dict.values())


def _common_prefix(names: Iterable[str]) -> str | None:
    """Returns the first prefix in `_PREFIXES` that all names have, or None."""
    names = list(names)
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in names):
            return prefix
    return None


def convert(state_dict: Mapping, model_config, num_classes: int) -> dict[str, dict]:
    """Converts a PyTorch state dict to the variables of the configured model.

    Args:
        state_dict: {name: array in PyTorch's layout}, or a checkpoint that contains
            such a dict; the names may have DataParallel's prefix.
        model_config: section `model` of the resolved configuration.
        num_classes: number of classes.

    Returns:
        {'params', 'batch_stats'} of f32 arrays; both contain only the key 'backbone' if
        the state dict is for a backbone without a head.

    Raises:
        UserError: no family (naming scheme) has these names, or arrays are missing,
            unexpected, of a wrong shape or not finite.
    """
    state_dict = unwrap(state_dict)
    family = families.recognise(state_dict)
    shapes = variable_shapes(model_config, num_classes, family.build)
    entries = checked_table(shapes, state_dict, family, model_config)
    return to_variables(state_dict, entries)


def to_state_dict(
    variables: Mapping, model_config, family: Family
) -> dict[str, np.ndarray]:
    """Converts variables to a state dict for PyTorch's load_state_dict.

    Args:
        variables: {'params', 'batch_stats'}.
        model_config: section `model` of the resolved configuration.
        family: family that determines the names; a family of backbones omits the heads.

    Returns:
        {name: array in PyTorch's layout}; the arrays num_batches_tracked are 0.

    Raises:
        UserError: the family has no name for a module of the model.
    """
    arrays = traverse_util.flatten_dict(dict(variables))
    entries = table(variables, family, model_config)
    found = {
        e.name: np.ascontiguousarray(e.layout.to_torch(np.asarray(arrays[e.path])))
        for e in entries
    }
    return found | {name: np.zeros((), np.int64) for name in counters(entries)}


def linear_classifier(params: Mapping) -> dict[str, np.ndarray]:
    """Converts the linear layer of a classifier to a state dict.

    The layer is named `fc`, as in PyTorch's ResNets.

    Args:
        params: {'kernel': f32[features, classes], 'bias': f32[classes]}.

    Returns:
        {'fc.weight': f32[classes, features], 'fc.bias': f32[classes]}.
    """
    kernel, bias = np.asarray(params["kernel"]), np.asarray(params["bias"])
    return {"fc.weight": np.ascontiguousarray(kernel.T), "fc.bias": bias}


def to_variables(state_dict: Mapping, entries: Iterable[Entry]) -> dict[str, dict]:
    """Converts arrays of a state dict to f32 variables of a model.

    Args:
        state_dict: {name: array in PyTorch's layout}.
        entries: the arrays to convert, with their paths in the variables.

    Raises:
        UserError: an array contains NaN, infinity or a negative variance.
    """
    entries = list(entries)
    for entry in entries:
        check_values(entry.name, np.asarray(state_dict[entry.name]))
    flat = {e.path: e.layout.from_torch(state_dict[e.name]) for e in entries}
    return traverse_util.unflatten_dict(
        {path: np.ascontiguousarray(x, dtype=np.float32) for path, x in flat.items()}
    )


def check_values(name: str, values: np.ndarray) -> None:
    """Raises UserError if an array contains NaN, infinity or a negative variance.

    Args:
        name: name of the array in the state dict; an array whose name ends in
            'running_var' contains variances.
        values: the array.
    """
    wrong = np.count_nonzero(~np.isfinite(values))
    if wrong:
        raise UserError(
            f"{name}: {wrong} of {values.size} values are NaN or infinite, or too large"
            " for float32; expected finite weights: get the file again"
        )
    if name.endswith("running_var") and values.min(initial=0) < 0:
        raise UserError(
            f"{name} contains the variance {values.min():g}; expected 0 or more: get"
            " the file again"
        )


def variable_shapes(
    model_config, num_classes: int, build: Callable[..., nn.Module] = models.build
) -> dict[str, dict]:
    """Returns the shapes of a model's variables, without computing the variables.

    Args:
        model_config: section `model` of the resolved configuration.
        num_classes: number of classes.
        build: function (model_config, num_classes) -> Flax module.

    Returns:
        {'params', 'batch_stats'} of jax.ShapeDtypeStruct.
    """
    model = build(model_config, num_classes)
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    return jax.eval_shape(lambda x: model.init(jax.random.key(0), x), images)
