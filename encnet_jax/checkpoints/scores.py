"""Reads and writes a score file in each checkpoint's folder.

A checkpoint is saved before validation, so that a failed validation does not lose the
checkpoint. Orbax cannot write the scores, because it writes metrics only together with
the arrays.
"""

import hashlib
import json

from etils import epath

from encnet_jax import storage
from encnet_jax.checkpoints import integrity
from encnet_jax.errors import UserError

NAME = "score.json"


def write(folder: epath.Path, step: int, score: float) -> None:
    """Writes the score of a complete checkpoint.

    Args:
        folder: folder of checkpoints, with a subfolder for each step.
        step: step of the checkpoint.
        score: score in [0, 1]; larger is better.
    """
    content = {"score": score, "sha256": _digest(step, score)}
    storage.write_whole(folder / str(step) / NAME, json.dumps(content))


def read_all(folder: epath.Path) -> dict[int, float]:
    """Returns {step: score} for all checkpoints with a score.

    A damaged score file is ignored, because the checkpoint is still usable.
    """
    scores = {}
    for step in integrity.steps(folder):
        try:
            content = json.loads(storage.read_bytes(folder / str(step) / NAME, 1 << 16))
            score, digest = content["score"], content["sha256"]
        except (UserError, ValueError, KeyError, TypeError, RecursionError):
            continue
        if isinstance(score, float) and digest == _digest(step, score):
            scores[step] = score
    return scores


def _digest(step: int, score: float) -> str:
    return hashlib.sha256(f"{step} {score!r}".encode()).hexdigest()


def best_step(scores: dict[int, float]) -> int | None:
    """Returns the step with the best score, or None if there are no scores.

    If several steps have the best score, the largest of these steps is returned.
    """
    return max(scores, key=lambda step: (scores[step], step), default=None)
