"""A network as a folder to hand on: safetensors and a configuration."""

import json
import os

import numpy as np
import safetensors.numpy
from etils import epath
from flax import traverse_util
from ml_collections import FrozenConfigDict

from encnet_jax import config as config_lib
from encnet_jax.errors import UserError
from encnet_jax.pods import parallel
from encnet_jax.scoring import protocols

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
_KIND = "encnet_jax"


def is_one(source: str | os.PathLike) -> bool:
    """Returns whether a folder holds a network to hand on, not a run."""
    return (epath.Path(source) / WEIGHTS).exists()


def write(folder: epath.Path, variables: dict, config, step: int) -> None:
    """Writes weights and configuration into a folder that is there.

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


def read(source: str | os.PathLike, fields: dict) -> tuple[dict, FrozenConfigDict, int]:
    """Returns the variables on the local devices, the configuration, the step.

    Args:
        source: the folder.
        fields: of the configuration that change.

    Raises:
        UserError: a file is missing or broken, or was not written here.
    """
    folder = epath.Path(source)
    try:
        content = json.loads((folder / CONFIG).read_text())
        arrays = safetensors.numpy.load((folder / WEIGHTS).read_bytes())
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise UserError(f"{source} holds no readable network ({error})") from None
    if content.get("library_name") != _KIND:
        raise UserError(
            f"{folder / CONFIG} is not of encnet_jax; wanted a folder that `encnet"
            " export --format hub` wrote"
        )
    saved = config_lib.from_dict(content["configuration"])
    saved = config_lib.completed(saved)
    saved.update_from_flattened_dict(fields)
    saved.eval.protocol = protocols.of_whole_images(saved.eval.protocol)
    variables = traverse_util.unflatten_dict(arrays, sep="/")
    return parallel.replicate(variables), config_lib.resolve(saved), content["step"]
