"""The results of single images, for functions that are called during an evaluation.

Such a function, a watch, is called as watch(example, seen) for each image.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import numpy as np


class Seen(NamedTuple):
    """The results of one evaluated image.

    Large arrays stay on the device: the fields `ids`, `confidence` and `levels` are
    functions without arguments that copy an array to the host and return the copy.

    Attributes:
        pairs: int64[C, C], number of pixels for each (label, prediction) pair.
        ids: function that returns uint8[H, W], the predicted class ids.
        presence: f32[C], probability that each class occurs in the image; None if the
            network has no SE branch.
        confidence: function that returns f32[H, W], the largest class probability of
            each pixel, NaN for pixels that calibration.PixelTerms does not count; None
            unless the evaluator computes calibration terms.
        sums: f32[H, 2], see calibration.row_sums; None unless the evaluator computes
            calibration terms.
        levels: function that returns uint8[H, W], the probability of the evaluator's
            level_class times 255, rounded; None if the evaluator has no level_class.
    """

    pairs: np.ndarray
    ids: Callable[[], np.ndarray]
    presence: np.ndarray | None
    confidence: Callable[[], np.ndarray] | None = None
    sums: np.ndarray | None = None
    levels: Callable[[], np.ndarray] | None = None


Watch = Callable[[dict, Seen], None]


class Batch(NamedTuple):
    """The results of a batch, which the devices may still be computing.

    In the shapes below, `...` stands for [devices, images per device].

    Attributes:
        members: the examples of the batch.
        ids: uint8[..., H, W], predicted class ids.
        pairs: list of int32[..., C, C], (label, prediction) counts: one array for each
            kind of label map in the examples. The first array is for 'label'.
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
    """Waits for a batch, calls the watches, and returns the batch's confusion counts.

    Args:
        pending: a list with one batch, or an empty list.
        watches: functions that are called as watch(example, seen) for each example.
            `seen.pairs` is from the first array of Batch.pairs.

    Returns:
        int64[len(Batch.pairs), C, C], confusion counts summed over the images; the
        integer 0 if `pending` is empty.
    """
    total: np.ndarray | int = 0
    for batch in pending:
        fetched = np.stack([np.asarray(each, np.int64) for each in batch.pairs])
        if watches:
            _show(batch, fetched[0], watches)
        total = total + fetched.sum((1, 2))
    return total


def _show(batch: Batch, pairs: np.ndarray, watches: Sequence[Watch]) -> None:
    """Calls each watch with every example of a batch and the example's results.

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
    """Copies maps [devices, b, H, W] to the host; returns one map without padding.

    JAX caches the copy, so repeated calls copy the maps only once.

    Args:
        maps: the maps of a batch.
        place: (device, index on the device) of the example.
        member: the example.
    """
    height, width = member["label"].shape
    return np.asarray(maps)[place][:height, :width]
