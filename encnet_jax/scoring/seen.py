"""Results of single images, which an evaluation passes to its watches.

A watch is a function that is called with each example and its results.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import numpy as np


class Seen(NamedTuple):
    """Results of the evaluation of one image.

    Large arrays stay on the device; functions fetch them on demand.

    Attributes:
        pairs: int64[C, C], number of pixels for each (label, prediction) pair.
        ids: function that fetches the predicted class ids, uint8[H, W].
        presence: f32[C], probability of each class to occur in the image; None without
            an SE branch.
        confidence: function that fetches the largest probability of each pixel, f32[H,
            W], NaN for pixels that are not counted; None unless the evaluator computes
            calibration terms.
        sums: f32[H, 2], see calibration.row_sums; None unless the evaluator computes
            calibration terms.
        levels: function that fetches the probability of the evaluator's level_class,
            uint8[H, W], in units of 1 / 255; None without a level_class.
    """

    pairs: np.ndarray
    ids: Callable[[], np.ndarray]
    presence: np.ndarray | None
    confidence: Callable[[], np.ndarray] | None = None
    sums: np.ndarray | None = None
    levels: Callable[[], np.ndarray] | None = None


Watch = Callable[[dict, Seen], None]


class Batch(NamedTuple):
    """A batch that devices may still be processing; arrays are [devices, b, ...].

    Attributes:
        members: the examples of the batch.
        ids: uint8[..., H, W], predicted class ids.
        pairs: confusion counts int32[..., C, C], one array for each map of labels that
            is compared with the predictions.
        presence: f32[..., C] or None; see Seen.
        confidence: f32[..., H, W] or None; see Seen.
        sums: f32[..., H, 2] or None; see Seen.
        levels: uint8[..., H, W] or None; see Seen.
    """

    members: list[dict]
    ids: jax.Array
    pairs: list[jax.Array]
    presence: jax.Array | None
    confidence: jax.Array | None
    sums: jax.Array | None
    levels: jax.Array | None


def fetch(pending: list[Batch], watches: Sequence[Watch]) -> np.ndarray | int:
    """Waits for a batch, calls functions with its results, and returns its counts.

    Args:
        pending: a list with one batch, or an empty list.
        watches: functions that are called with each example and its `Seen` record,
            whose counts are the first array of `Batch.pairs`.

    Returns:
        Confusion matrices int64[len(pairs), C, C], summed over images; 0 if `pending`
        is empty.
    """
    total: np.ndarray | int = 0
    for batch in pending:
        fetched = np.stack([np.asarray(each, np.int64) for each in batch.pairs])
        if watches:
            _show(batch, fetched[0], watches)
        total = total + fetched.sum((1, 2))
    return total


def _show(batch: Batch, pairs: np.ndarray, watches: Sequence[Watch]) -> None:
    """Calls each function of `watches` with every example of a batch and its results.

    Args:
        batch: the batch.
        pairs: int64[devices, b, C, C], confusion counts of each image.
        watches: see fetch.
    """
    presence, sums = jax.tree.map(np.asarray, (batch.presence, batch.sums))
    places = np.ndindex(batch.ids.shape[:2])
    for member, place in zip(batch.members, places, strict=False):
        ids, confidence, levels = (
            None if maps is None else partial(_fetched, maps, place, member)
            for maps in (batch.ids, batch.confidence, batch.levels)
        )
        assert ids is not None
        own, own_sums = (
            None if each is None else each[place] for each in (presence, sums)
        )
        seen = Seen(pairs[place], ids, own, confidence, own_sums, levels)
        for watch in watches:
            watch(member, seen)


def _fetched(maps: jax.Array, place: tuple, member: dict) -> np.ndarray:
    """Fetches maps [devices, b, H, W] and returns that of one example, unpadded.

    JAX caches the copy on the host, so the array is transferred only once.
    """
    height, width = member["label"].shape
    return np.asarray(maps)[place][:height, :width]
