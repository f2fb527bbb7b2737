"""Whether all processes of a run were given one configuration and the same data."""

import json

import jax
import numpy as np
from jax.experimental import multihost_utils

from encnet_jax.errors import UserError
from encnet_jax.pods import distributed

# Each host may have the same data, and weights to start from, in a place of its own.
_PLACES = ("data.data_dir", "data.folder.images", "data.folder.masks", "init_from")


def check(facts: dict[str, object]) -> None:
    """Makes sure that every process has process 0's facts, places of data left out.

    Processes that differ would wait for each other for ever, or add up what belongs to
    different runs.

    Args:
        facts: values that JSON knows, by name: a flattened configuration, numbers of
            images.

    Raises:
        UserError: in all processes, where one differs; its own names the first fact.
    """
    if jax.process_count() == 1:
        return
    text = json.dumps({k: v for k, v in facts.items() if k not in _PLACES})
    wanted = json.loads(_of_process_0(text))
    distributed.together(lambda: _compare(json.loads(text), wanted))


def _compare(mine: dict, wanted: dict) -> None:
    for name in sorted(mine.keys() | wanted.keys()):
        if mine.get(name) != wanted.get(name):
            raise UserError(
                f"{name} is {mine.get(name)!r} in process {jax.process_index()} and"
                f" {wanted.get(name)!r} in process 0; start the same command, with the"
                " same data, on every host"
            )


def _of_process_0(text: str) -> str:
    """Returns process 0's text in every process."""
    data = np.frombuffer(text.encode(), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.array(len(data))))
    padded = np.zeros(size, np.uint8)
    padded[: len(data)] = data[:size]
    return multihost_utils.broadcast_one_to_all(padded).tobytes().decode()
