"""A network as a folder to share: safetensors and a configuration."""

import json
import os

import numpy as np
import safetensors.numpy
from etils import epath
from flax import traverse_util

from encnet_jax import config as config_lib
from encnet_jax.errors import UserError
from encnet_jax.pods import parallel
from encnet_jax.scoring import protocols
from encnet_jax.tasks import network
from encnet_jax.tasks.network import Network

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
_KIND = "encnet_jax"


def is_one(source: str | os.PathLike) -> bool:
    """Returns whether a folder is an exported network, not a run."""
    return (epath.Path(source) / WEIGHTS).exists()


def write(folder: epath.Path, variables: dict, config, step: int) -> None:
    """Writes weights and configuration into an existing folder.

    Args:
        folder: to write into.
        variables: {'params', 'batch_stats'} of NumPy arrays.
        config: resolved configuration.
        step: of the checkpoint.
    """
    flat = traverse_util.flatten_dict(dict(variables), sep="/")
    arrays = {name: np.ascontiguousarray(x) for name, x in flat.items()}
    (folder / WEIGHTS).write_bytes(safetensors.numpy.save(arrays, {"format": "flax"}))
    content = {
        "library_name": _KIND,
        "step": step,
        "configuration": json.loads(config_lib.to_json(config)),
    }
    (folder / CONFIG).write_text(json.dumps(content, indent=2) + "\n")


def read(source: str | os.PathLike, fields: dict) -> Network:
    """Returns the network, its variables on the local devices.

    Args:
        source: the folder.
        fields: of the configuration to change.

    Raises:
        UserError: a file is missing or damaged, or was written by something else.
    """
    folder = epath.Path(source)
    try:
        content = json.loads((folder / CONFIG).read_text())
        arrays = safetensors.numpy.load((folder / WEIGHTS).read_bytes())
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise UserError(f"{source} has no readable network ({error})") from None
    if content.get("library_name") != _KIND:
        raise UserError(
            f"{folder / CONFIG} is not of encnet_jax; expected a folder written by"
            " `encnet export --format hub`"
        )
    saved = config_lib.from_dict(content["configuration"])
    saved = config_lib.completed(saved)
    saved.update_from_flattened_dict(fields)
    saved.eval.protocol = protocols.of_whole_images(saved.eval.protocol)
    variables = traverse_util.unflatten_dict(arrays, sep="/")
    config = config_lib.resolve(saved)
    return network.build(parallel.replicate(variables), config, content["step"])
