"""Prepares variables for prediction: folds batch norms and transforms kernels."""

import re
from collections.abc import Iterable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from encnet_jax.models import winograd
from encnet_jax.models.bands import Taps
from encnet_jax.models.by_platform import enabled
from encnet_jax.models.conv import Conv

# norm follows conv, norm1 follows conv1, shortcut_norm follows shortcut_conv.
_NORM = re.compile(r"(.*_)?norm(\d*)")


def fold_batch_norms(variables: dict, epsilon: float) -> dict:
    """Folds every batch norm into the convolution before it.

    In evaluation, a batch norm multiplies each channel by a factor and adds an offset.
    The kernel of the convolution is multiplied by the factor, so that the batch norm
    only adds an offset. Batch norms that do not follow a convolution, such as the batch
    norm after the Encoding Layer, are not changed.

    Args:
        variables: {'params', 'batch_stats'} of a Segmenter, f32 arrays. CIFAR-10
            networks are not supported.
        epsilon: model.norm_epsilon of the network.

    Returns:
        Equivalent variables for `apply(..., train=False)`, unsuitable for training.
        Folded batch norms have no `scale`, `mean` or `var`. Changed kernels and biases
        are NumPy arrays.
    """
    params = traverse_util.flatten_dict(variables["params"])
    stats = traverse_util.flatten_dict(variables["batch_stats"])
    for path in [path for path in params if path[-1] == "scale"]:
        norm = path[:-1]
        kernel_path = (*norm[:-1], _convolution_before(norm[-1]), "kernel")
        if kernel_path not in params:
            continue
        mean, var = (
            np.asarray(stats.pop((*norm, name)), np.float64) for name in ("mean", "var")
        )
        scale = np.asarray(params.pop(path), np.float64)
        factor = scale / np.sqrt(var + epsilon)
        kernel, bias = params[kernel_path], params[(*norm, "bias")]
        params[kernel_path] = (np.asarray(kernel) * factor).astype(np.float32)
        params[(*norm, "bias")] = (np.asarray(bias) - mean * factor).astype(np.float32)
    return {
        "params": traverse_util.unflatten_dict(params),
        "batch_stats": traverse_util.unflatten_dict(stats),
    }


def folded_names(names: Iterable[str]) -> set[str]:
    """Returns the names of the arrays that remain after fold_batch_norms.

    Args:
        names: all names before folding, such as 'params/head/conv/norm/scale'.
    """
    left = set(names)
    for name in list(left):
        kind, *path, last = name.split("/")
        if (kind, last) != ("params", "scale") or not path:
            continue
        *above, norm = path
        match = _NORM.fullmatch(norm)
        if match is None:
            continue
        convolution = "/".join(["params", *above, _convolution_before(norm), "kernel"])
        if convolution in left:
            stats = "/".join(["batch_stats", *path])
            left -= {name, f"{stats}/mean", f"{stats}/var"}
    return left


def _convolution_before(norm: str) -> str:
    match = _NORM.fullmatch(norm)
    assert match is not None, norm
    prefix, number = match.groups(default="")
    return f"{prefix}conv{number}"


def transform_kernels(model: nn.Module, variables: dict) -> dict:
    """Transforms the kernels of Winograd convolutions once, instead of in every call.

    This package uses Winograd convolutions only on CPUs. On other platforms,
    `variables` is returned unchanged.

    Args:
        model: a Segmenter.
        variables: the variables of `model`, on devices.

    Returns:
        Variables for `model.apply(..., train=False)` on the platform of this process.
        On CPUs, the kernels of Winograd convolutions are replaced by transformed
        kernels, which cannot be trained or saved. Other arrays are shared.
    """
    # Models without parameters are allowed.
    params = traverse_util.flatten_dict(variables.get("params", {}))
    may_suit = any(
        path[-1] == "kernel" and x.ndim == 4 and winograd.suits(x, Taps())
        for path, x in params.items()
    )
    if jax.default_backend() != "cpu" or not enabled() or not may_suit:
        return variables
    transform = jax.jit(winograd.transform_kernel)
    for path in _suitable_paths(model, variables):
        params[(*path, winograd.POINTS)] = transform(params.pop((*path, "kernel")))
    return {**variables, "params": traverse_util.unflatten_dict(params)}


def _suitable_paths(model: nn.Module, variables: dict) -> set[tuple[str, ...]]:
    """Returns the paths of the convolutions that use Winograd's algorithm.

    Args:
        model, variables: see transform_kernels.
    """
    found = set()

    def note(apply, args, kwargs, context):
        conv = context.module
        if isinstance(conv, Conv) and conv.dtype == jnp.float32:
            kernel = conv.get_variable("params", "kernel")
            if winograd.suits(kernel, Taps(conv.stride)):
                found.add(conv.path)
        return apply(*args, **kwargs)

    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    with nn.intercept_methods(note):
        jax.eval_shape(model.apply, variables, images)
    return found
