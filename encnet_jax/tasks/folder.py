"""Reads and writes exported networks: folders with weights and a configuration."""

import hashlib
import json
import os
from collections.abc import Callable

import jax
import numpy as np
import safetensors.numpy
from etils import epath
from flax import traverse_util
from ml_collections import ConfigDict

from encnet_jax import config as config_lib
from encnet_jax import storage
from encnet_jax.errors import UserError
from encnet_jax.models.folding import folded_names
from encnet_jax.storage import schema
from encnet_jax.tasks import network
from encnet_jax.tasks.network import Network

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
HUB_PREFIX = "hf:"
_KIND = "encnet_jax"


def local(source: str | os.PathLike) -> str:
    """Returns the folder of an exported network, which is downloaded if necessary.

    Only configuration and weights are downloaded, to the cache of huggingface_hub.

    Args:
        source: `hf:owner/name` or `hf:owner/name@revision` for a network on the Hugging
            Face Hub. Any other value is a local path and is returned unchanged.

    Raises:
        UserError: huggingface_hub is not installed, or the model cannot be downloaded.
    """
    source = os.fspath(source)
    if not source.startswith(HUB_PREFIX):
        return source
    hub = import_hub(source)
    name, _, revision = source.removeprefix(HUB_PREFIX).partition("@")
    try:
        return hub.snapshot_download(
            name, revision=revision or None, allow_patterns=[CONFIG, WEIGHTS]
        )
    # Errors of HTTP libraries and of huggingface_hub have no common type.
    except Exception as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise UserError(
            f"{source} cannot be downloaded: {reason}; expected hf:OWNER/NAME, a model"
            " that was uploaded with `encnet export --push`"
        ) from None


def import_hub(why: str):
    """Imports and returns the package huggingface_hub.

    Args:
        why: flag or value that requires the package, for the error message.

    Raises:
        UserError: the package is not installed.
    """
    try:
        import huggingface_hub
    except ImportError:
        raise UserError(
            f"{why} requires the package huggingface_hub: pip install huggingface_hub"
        ) from None
    return huggingface_hub


def is_one(source: str | os.PathLike) -> bool:
    """Returns whether a folder contains model.safetensors, i.e. an exported network."""
    return os.path.lexists(epath.Path(source) / WEIGHTS)


def write(folder: epath.Path, variables: dict, config, step: int) -> None:
    """Writes the weights and the configuration of a network to a folder.

    Args:
        folder: an existing folder.
        variables: {'params', 'batch_stats'} of NumPy arrays; batch norms are not folded
            into convolutions.
        config: resolved configuration.
        step: step of the checkpoint that contained the variables.
    """
    flat = traverse_util.flatten_dict(dict(variables), sep="/")
    arrays = {name: np.ascontiguousarray(x) for name, x in flat.items()}
    weights = safetensors.numpy.save(arrays, {"format": "flax"})
    (folder / WEIGHTS).write_bytes(weights)
    content = {
        "library_name": _KIND,
        "step": step,
        "sha256": {WEIGHTS: hashlib.sha256(weights).hexdigest()},
        "configuration": json.loads(config_lib.to_json(config)),
    }
    (folder / CONFIG).write_text(json.dumps(content, indent=2) + "\n")


def read(
    source: str | os.PathLike, change: Callable[[ConfigDict], None] = lambda _: None
) -> Network:
    """Reads an exported network from a folder.

    Args:
        source: the folder.
        change: function that modifies the saved configuration before it is resolved.

    Returns:
        The network, with variables that are NumPy arrays.

    Raises:
        UserError: a file is missing, is damaged, or was not written by this package.
    """
    folder = epath.Path(source)
    path = folder / CONFIG
    content = storage.read_json(path)
    if content.get("library_name") != _KIND:
        raise UserError(f"{path} was not written by encnet_jax; {_EXPECTED}")
    wrong = schema.problem(content, _SCHEMA)
    if wrong:
        raise UserError(f"{path}: {wrong}; {_EXPECTED}")
    saved = config_lib.from_saved(content["configuration"], path)
    change(saved)
    try:
        config = config_lib.resolve(saved)
    except UserError as error:  # Its message does not name the file.
        raise UserError(f"{path}: {error}") from None
    arrays = _read_weights(folder / WEIGHTS, content["sha256"][WEIGHTS])
    groups = {f"{name.rpartition('/')[0]}/" for name in arrays}
    both = [x for x in arrays if any(g.startswith(f"{x}/") for g in groups)]
    if both:
        raise UserError(
            f"{folder / WEIGHTS} contains an array {both[0][:200]!r} and also arrays"
            f" inside a module with the same name; {_EXPECTED}"
        )
    variables = traverse_util.unflatten_dict(arrays, sep="/")
    try:
        built = network.build(variables, config, content["step"])
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    _check_arrays(folder / WEIGHTS, arrays, built)
    return built


_EXPECTED = "expected a folder that `encnet export --format hub` wrote"
_SCHEMA = {
    "step": schema.whole(),
    "configuration": dict,
    "sha256": {WEIGHTS: str},
}


def _read_weights(path: epath.Path, sha256: str) -> dict[str, np.ndarray]:
    """Returns {name: array} of a .safetensors file.

    Raises:
        UserError: the file does not have the given SHA-256, or has another format.
    """
    data = storage.read_bytes(path)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise UserError(
            f"{path} has changed since it was written: its SHA-256 differs from that in"
            f" {CONFIG}; download the folder again"
        )
    try:
        return safetensors.numpy.load(data)
    # The reader raises errors of many types for damaged files.
    except Exception as error:
        raise UserError(
            f"{path} is not a readable .safetensors file"
            f" ({type(error).__name__}: {error}); {_EXPECTED}"
        ) from None


def _check_arrays(
    path: epath.Path, arrays: dict[str, np.ndarray], built: Network
) -> None:
    """Checks that the arrays of an exported network match its model and are finite.

    Args:
        path: path of the weight file, for messages.
        arrays: {name: array} of the weight file.
        built: the network of the folder's configuration.

    Raises:
        UserError: an array is missing or unknown, has another shape or type, or
            contains NaN or infinity.
    """
    side = built.config.data.crop_size
    image = jax.ShapeDtypeStruct((1, side, side, 3), np.float32)
    made = jax.eval_shape(
        lambda x: built.model.init(jax.random.key(0), x, train=False), image
    )
    shapes = {
        name: x.shape
        for name, x in traverse_util.flatten_dict(dict(made), sep="/").items()
    }
    # Earlier versions exported folded arrays: use the more similar set of names.
    expected = min(
        (set(shapes), folded_names(shapes)),
        key=lambda names: len(names ^ arrays.keys()),
    )
    missing, unknown = expected - arrays.keys(), arrays.keys() - expected
    if missing or unknown:
        some = sorted(missing or unknown)[0][:200]
        word = "lacks the array" if missing else "contains the unknown array"
        raise UserError(
            f"{path} does not match the network of {CONFIG}: the file {word} {some!r}"
            f" (arrays: {len(missing)} missing, {len(unknown)} unknown); {_EXPECTED}"
        )
    for name, array in sorted(arrays.items()):
        if array.dtype != np.float32 or array.shape != shapes[name]:
            raise UserError(
                f"{path}: array {name!r} is {array.dtype}{list(array.shape)}; expected"
                f" float32{list(shapes[name])}; {_EXPECTED}"
            )
        if not np.isfinite(array).all():
            raise UserError(
                f"{path}: array {name!r} contains NaN or infinite values; download the"
                " folder again"
            )
