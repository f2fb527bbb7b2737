"""Checks that all processes of a run have the same configuration and data."""

import json

import jax
import numpy as np
from jax.experimental import multihost_utils

from encnet_jax.errors import UserError
from encnet_jax.pods import distributed

# Fields that may differ, because data and weights may have another path on each host.
_PLACES = ("data.data_dir", "data.folder.images", "data.folder.masks", "init_from")


def check(facts: dict[str, object]) -> None:
    """Checks that every process has the same values as process 0.

    Processes with different configurations would wait for each other forever, or sum
    gradients of different networks.

    Args:
        facts: {name: JSON-ready value}, such as a flattened configuration or numbers of
            images. Paths of data and of initial weights are not compared.

    Raises:
        UserError: the values of a process differ from those of process 0. All processes
            raise an error; in a process with different values, the message states the
            first difference.
    """
    if jax.process_count() == 1:
        return
    text = json.dumps({k: v for k, v in facts.items() if k not in _PLACES})
    expected = json.loads(_of_process_0(text))
    distributed.together(lambda: _compare(json.loads(text), expected))


def _compare(mine: dict, expected: dict) -> None:
    for name in sorted(mine.keys() | expected.keys()):
        if mine.get(name) != expected.get(name):
            raise UserError(
                f"{name} is {mine.get(name)!r} in process {jax.process_index()} but"
                f" {expected.get(name)!r} in process 0; start the same command, with"
                " the same data, on every host"
            )


def _of_process_0(text: str) -> str:
    """Returns the `text` of process 0 in every process."""
    data = np.frombuffer(text.encode(), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.array(len(data))))
    padded = np.zeros(size, np.uint8)
    padded[: len(data)] = data[:size]
    return multihost_utils.broadcast_one_to_all(padded).tobytes().decode()
