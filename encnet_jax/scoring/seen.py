"""Results of single images, passed to the `watches` of an evaluation."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import numpy as np


class Seen(NamedTuple):
    """Results of the evaluation of one image.

    Attributes:
        pairs: int64[C, C] pixels of (label, prediction).
        ids: fetches the prediction uint8[H, W] from the device.
        presence: f32[C], probability that a class occurs; None without an SE branch.
        confidence: fetches the largest probability f32[H, W], NaN for pixels that do
            not count; None unless the evaluator measures calibration.
        sums: f32[H, 2], see calibration.row_sums; None unless the evaluator measures
            calibration.
        levels: fetches the probability of the evaluator's level_class, uint8[H, W] in
            255ths; None without such a class.
    """

    pairs: np.ndarray
    ids: Callable[[], np.ndarray]
    presence: np.ndarray | None
    confidence: Callable[[], np.ndarray] | None = None
    sums: np.ndarray | None = None
    levels: Callable[[], np.ndarray] | None = None


Watch = Callable[[dict, Seen], None]


class Batch(NamedTuple):
    """A batch whose pixels are being counted; arrays are [devices, b, ...].

    Attributes:
        members: examples.
        ids: uint8[..., H, W] predictions.
        pairs: counts int32[..., C, C], one for each counted map of labels.
        presence: f32[..., C] or None.
        confidence: f32[..., H, W] or None.
        sums: f32[..., H, 2] or None.
        levels: uint8[..., H, W] or None.
    """

    members: list[dict]
    ids: jax.Array
    pairs: list[jax.Array]
    presence: jax.Array | None
    confidence: jax.Array | None
    sums: jax.Array | None
    levels: jax.Array | None


def fetch(pending: list[Batch], watches: Sequence[Watch]) -> np.ndarray | int:
    """Returns int64[keys, C, C], the sums over images of a pending batch.

    Args:
        pending: an empty list, or one batch.
        watches: see evaluator.Evaluator.confusion; called with the pairs of the first
            key.
    """
    total: np.ndarray | int = 0
    for batch in pending:
        fetched = np.stack([np.asarray(each, np.int64) for each in batch.pairs])
        if watches:
            _show(batch, fetched[0], watches)
        total = total + fetched.sum((1, 2))
    return total


def _show(batch: Batch, pairs: np.ndarray, watches: Sequence[Watch]) -> None:
    """Calls the watches with each image of a batch."""
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
    """Returns the map of one member. JAX caches the host's copy of the whole array."""
    height, width = member["label"].shape
    return np.asarray(maps)[place][:height, :width]
